"""Finished clips as one .npz of this project's format, with the settings of their features inside."""

import dataclasses
import os
import pathlib
import zipfile
from collections.abc import Container, Iterator

import numpy as np

from msajax.data import parts
from msajax.data.errors import DataError
from msajax.data.formats import npz
from msajax.data.spec import Corpus, Split
from msajax.media import settings
from msajax.media.corpus import Job, file_of
from msajax.media.settings import MediaFeatures, Standard


@dataclasses.dataclass(frozen=True)
class Packed:
    """What `pack` wrote.

    Attributes:
      shapes: [N, L, D] by modality.
      cut: clips that were longer, by modality.
      notes: by id.
    """

    shapes: dict[str, tuple[int, int, int]]
    cut: dict[str, int]
    notes: dict[str, str]


def pack(
    job: Job,
    corpus: Corpus,
    out: pathlib.Path,
    *,
    failed: Container[str] = (),
    standardize: bool = False,
) -> Packed:
    """Writes the finished clips of a corpus into one .npz of this project's format.

    Args:
      job: whose clips are finished.
      corpus: ids, texts and labels; clips that are not finished are left out.
      out: the .npz.
      failed: ids that are left out too: they may have files of an earlier run.
      standardize: write deviations from the mean over the training split.

    Raises:
      DataError: no clip is finished, or clips have features of different widths.
      OSError: the disk is full.
    """
    taken = {
        name: split.take(
            np.array(
                [i not in failed and file_of(job, i).exists() for i in split.ids], bool
            )
        )
        for name, split in corpus.splits.items()
    }
    splits = {name: split for name, split in taken.items() if len(split)}
    ids = [str(i) for split in splits.values() for i in split.ids]
    if not ids:
        raise DataError("no clip could be read, so there is nothing to write")
    arrays = _table(splits)
    standard = _standards(job, splits) if standardize else {}
    described = dataclasses.replace(job.settings, standard=standard)
    arrays[npz.MEDIA] = np.array(described.to_json())
    shapes, cut = {}, {}
    with parts.replacing(out) as part, zipfile.ZipFile(part, "w") as archive:
        for key in ("audio", "vision"):
            if getattr(job.settings, key):
                shape, lengths = _measure(job, ids, key)
                shapes[key], cut[key] = shape, int((lengths > shape[1]).sum())
                arrays[f"{key}_length"] = np.minimum(lengths, shape[1])
                clips = _clips(job, ids, key)
                if key in standard:
                    clips = (standard[key](x) if x.size else x for x in clips)
                _write_padded(archive, key, shape, clips)
        for key, array in arrays.items():
            with archive.open(f"{key}.npy", "w") as to:
                np.lib.format.write_array(to, array, allow_pickle=False)
    notes = {i: "; ".join(_load(job, i, "notes")) for i in ids}
    return Packed(shapes, cut, {i: note for i, note in notes.items() if note})


def _table(splits: dict[str, Split]) -> dict[str, np.ndarray]:
    """The columns of all splits, one below the other."""
    names = dict.fromkeys(key for split in splits.values() for key in split.arrays)
    found = {
        "id": np.concatenate([split.ids for split in splits.values()]),
        "raw_text": np.concatenate([split.raw_text for split in splits.values()]),
    }
    for key in names:  # a split of rows without labels has no numbers
        found[key] = np.concatenate(
            [
                split.arrays.get(key, np.full(len(split), np.nan))
                for split in splits.values()
            ]
        )
    if list(splits) != ["all"]:
        found["split"] = np.repeat(list(splits), [len(x) for x in splits.values()])
    return found


def _load(job: Job, name: str, key: str) -> np.ndarray:
    return npz.load(file_of(job, name), (key,), needed=(key,))[key]


def _clips(job: Job, ids: list[str], key: str) -> Iterator[np.ndarray]:
    return (_load(job, name, key) for name in ids)


def _measure(
    job: Job, ids: list[str], key: str
) -> tuple[tuple[int, int, int], np.ndarray]:
    """The shape [N, L, D] of a modality and each clip's length [N].

    L is mean + 3 std of the lengths, as in MMSA-FET, and at most the longest.
    """
    found = [array.shape for array in _clips(job, ids, key)]
    widths = {shape[1]: i for i, shape in zip(ids, found, strict=True) if shape[0]}
    if len(widths) != 1:
        where = ", ".join(f"{width} ({name})" for width, name in widths.items())
        raise DataError(
            f"the {key} of the clips has features of different widths: {where}"
            if widths
            else f"no clip has {key}; leave this modality out (--{key} none)"
        )
    lengths = np.array([shape[0] for shape in found])
    real = lengths[lengths > 0]
    steps = int(min(real.max(), max(1, int(real.mean() + 3 * real.std()))))
    return (len(ids), steps, next(iter(widths))), lengths


def _standards(job: Job, splits: dict[str, Split]) -> dict[str, Standard]:
    """What the training split's features are standardized by; it is read clip by clip.

    Raises:
      DataError: there is no training split.
    """
    if "train" not in splits:
        raise DataError(
            "features are standardized by the training split, but no clip that could be "
            "read has the mode train; leave --standardize out"
        )
    found, ids = {}, [str(i) for i in splits["train"].ids]
    for key in [key for key in ("audio", "vision") if getattr(job.settings, key)]:
        count, total, squares = 0, np.zeros(()), np.zeros(())
        for values in _clips(job, ids, key):
            if values.size:
                values = values.astype(np.float64)
                count += len(values)
                total = total + values.sum(axis=0)
                squares = squares + np.square(values).sum(axis=0)
        mean = total / max(count, 1)
        std = np.sqrt(np.maximum(squares / max(count, 1) - mean**2, 0))
        std = np.where(std > 1e-6 * (1 + np.abs(mean)), std, 1.0)
        if mean.ndim:  # some clip has the modality
            found[key] = Standard(tuple(mean.tolist()), tuple(std.tolist()))
    return found


def _write_padded(
    archive: zipfile.ZipFile,
    key: str,
    shape: tuple[int, int, int],
    clips_of: Iterator[np.ndarray],
) -> None:
    """One clip after the other, so that the whole is never in memory."""
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    with archive.open(f"{key}.npy", "w", force_zip64=True) as to:
        np.lib.format.write_array_header_1_0(to, header)
        for values in clips_of:
            row = np.zeros(shape[1:], "<f4")
            if len(values):
                row[: len(values)] = values[: shape[1]]
            to.write(row.tobytes())


def settings_of(path: str | os.PathLike[str]) -> MediaFeatures | None:
    """The settings of the features in an .npz that `pack` wrote; None for another one.

    Raises:
      DataError: a damaged file.
    """
    arrays = npz.load(path, (npz.MEDIA,))
    if npz.MEDIA not in arrays:
        return None
    return settings.of_json(str(arrays[npz.MEDIA]), name=str(path))
