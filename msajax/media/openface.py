"""Vision features that other programs wrote: csv files of OpenFace 2, and npy or npz files.

OpenFace 2 (Baltrusaitis et al., "OpenFace 2.0: Facial Behavior Analysis Toolkit", FG 2018)
writes one row for each picture of a video. It is a program of its own:
`FeatureExtraction -f clip.mp4 -out_dir openface` writes openface/clip.csv.
"""

import collections
import os
import pathlib

import numpy as np

from msajax.data.errors import DataError, decoding
from msajax.data.formats import npz, tables
from msajax.media import files


def _indexed(names: tuple[str, ...], count: int) -> list[str]:
    return [f"{name}_{i}" for name in names for i in range(count)]


_AXES = "xyz"
_GAZE = [
    *(f"gaze_{eye}_{axis}" for eye in (0, 1) for axis in _AXES),
    *("gaze_angle_x", "gaze_angle_y"),
    *_indexed(("eye_lmk_x", "eye_lmk_y", "eye_lmk_X", "eye_lmk_Y", "eye_lmk_Z"), 56),
]
_POSE = [f"pose_{kind}{axis}" for kind in "TR" for axis in _AXES]
_FLAT, _SOLID = _indexed(("x", "y"), 68), _indexed(("X", "Y", "Z"), 68)
_SHAPE = [
    *("p_scale", "p_rx", "p_ry", "p_rz", "p_tx", "p_ty"),
    *(f"p_{i}" for i in range(34)),
]
_UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 45)
_ACTIONS = [
    *(f"AU{i:02d}_r" for i in _UNITS),
    *(f"AU{i:02d}_c" for i in sorted((*_UNITS, 28))),
]
# By kind of `settings.VisionFeatures`. The parts of CH-SIMS v2 are those of OpenFace's
# groups that have its 177 columns together: the paper names them without their order.
COLUMNS = {
    "openface": [*_GAZE, *_POSE, *_FLAT, *_SOLID, *_SHAPE, *_ACTIONS],
    "openface_v2": [*_FLAT, *_POSE, *_ACTIONS],
}


_LEFT_OUT = 10_000


def read(path: str | os.PathLike[str], *, kind: str) -> np.ndarray:
    """The features of a csv file of OpenFace 2.

    Args:
      path: of the file.
      kind: of the columns, a key of `COLUMNS`.

    Returns:
      [L, 709] or [L, 177] float32: of the face that is seen most often; zeros where it
      is not seen.

    Raises:
      DataError: the file is damaged, or lacks a column.
    """
    path = files.check(path)
    with decoding("csv of OpenFace", advice="run OpenFace's FeatureExtraction again"):
        rows = tables.rows(path, ("frame", "success", *COLUMNS[kind]))
    if not rows:
        raise DataError(f"{path} has no rows; run OpenFace's FeatureExtraction again")
    seen = [row for row in rows if tables.number(row, "success") > 0]
    faces = collections.Counter(row.get("face_id", "0") for row in seen)
    face = faces.most_common(1)[0][0] if seen else ""
    numbers = [tables.number(row, "frame") for row in rows]
    first, last = min(numbers), max(numbers)
    # Pictures may be left out, but a damaged number must not fill the memory.
    if not 0 <= last - first < len(rows) + _LEFT_OUT:
        raise DataError(
            f"{path} has frames from {first:.0f} to {last:.0f}, but {len(rows)} rows: it is "
            "damaged; run OpenFace's FeatureExtraction again"
        )
    values = np.zeros((int(last - first) + 1, len(COLUMNS[kind])), np.float32)
    for row in seen:
        if row.get("face_id", "0") == face:
            step = int(tables.number(row, "frame") - first)
            values[step] = [tables.number(row, name) for name in COLUMNS[kind]]
    return values


def read_array(path: str | os.PathLike[str]) -> np.ndarray:
    """Features of your own for a clip.

    Args:
      path: of an .npy, or of an .npz with one array or one called `vision`.

    Returns:
      [L, D] float32.

    Raises:
      DataError: a damaged file, or an array of another rank.
    """
    path = files.check(path)
    if path.suffix == ".npz":
        arrays = npz.load(path)
        name = "vision" if "vision" in arrays else next(iter(arrays), "")
        if not name or (name != "vision" and len(arrays) > 1):
            raise DataError(
                f"{path} has the arrays {', '.join(arrays) or 'none'}; expected one, or one "
                "called vision"
            )
        array = arrays[name]
    else:
        with decoding(f"npy file {path}"):
            array = np.load(path, allow_pickle=False)
    if array.ndim != 2 or array.dtype.kind not in "fiu" or not array.size:
        raise DataError(
            f"{path} has an array {list(array.shape)} of {array.dtype}, expected numbers "
            "[steps, features]"
        )
    return array.astype(np.float32)


SUFFIXES = {
    "openface": (".csv",),
    "openface_v2": (".csv",),
    "files": (".npy", ".npz"),
}


def find(folder: pathlib.Path, video: str, clip: str, *, kind: str) -> pathlib.Path:
    """The file of a clip in a folder: FOLDER/video/clip.csv, or FOLDER/video_clip.csv.

    Raises:
      DataError: there is none; says how to make it.
    """
    suffixes = SUFFIXES[kind]
    for suffix in suffixes:
        for name in (f"{video}/{clip}{suffix}", f"{video}_{clip}{suffix}"):
            if (folder / name).is_file():
                return folder / name
    how = "save the features of each clip there"
    if kind != "files":
        how = (
            f"run OpenFace 2 on each clip: FeatureExtraction -f {video}/{clip}.mp4 -out_dir "
            f"{folder / video}"
        )
    raise DataError(
        f"there is no file {folder / video / clip}{' or '.join(suffixes)}; {how}"
    )
