import numpy as np
import pytest

from msajax.data.errors import DataError
from msajax.media import openface

COLUMNS = openface.COLUMNS["openface"]


def write(path, rows, columns=COLUMNS):
    """As OpenFace 2 writes it, with a space after each comma."""
    names = ["frame", "face_id", "timestamp", "confidence", "success", *columns]
    with path.open("w", newline="") as file:
        lines = [names, *rows]
        file.writelines(", ".join(map(str, line)) + "\n" for line in lines)
    return path


def row(frame, success=1, face=0, shift=0.0):
    values = [round(0.25 * i + shift, 3) for i in range(len(COLUMNS))]
    return [frame, face, frame / 30, 0.98, success, *values]


def test_columns_of_ch_sims():
    groups = {"gaze": 8, "eye_lmk": 280, "pose": 6, "p": 40, "AU": 35}
    assert len(COLUMNS) == len(set(COLUMNS)) == 709
    for start, count in groups.items():
        names = [
            n for n in COLUMNS if n.startswith(start + ("" if start == "AU" else "_"))
        ]
        assert len(names) == count, start
    assert COLUMNS[0] == "gaze_0_x" and COLUMNS[8] == "eye_lmk_x_0"
    assert COLUMNS[288:290] == ["pose_Tx", "pose_Ty"] and COLUMNS[293] == "pose_Rz"
    assert COLUMNS[294] == "x_0" and COLUMNS[634] == "p_scale"
    assert COLUMNS[-35] == "AU01_r" and COLUMNS[-1] == "AU45_c"
    assert len(openface.COLUMNS["openface_v2"]) == 177


def test_columns_are_found_by_name(tmp_path):
    path = write(tmp_path / "a.csv", [row(1), row(2, shift=1)])
    found = openface.read(path, kind="openface")
    assert found.shape == (2, 709) and found.dtype == np.float32
    np.testing.assert_allclose(found[1], 0.25 * np.arange(709) + 1)
    v2 = openface.read(path, kind="openface_v2")
    assert v2.shape == (2, 177)
    assert v2[0, 0] == found[0, COLUMNS.index("x_0")]
    assert v2[0, 136] == found[0, 288] and v2[0, -1] == found[0, -1]


def test_steps_without_the_face_are_zeros(tmp_path):
    rows = [row(1), row(2, success=0), row(4), row(4, face=1, shift=9)]
    found = openface.read(write(tmp_path / "a.csv", rows), kind="openface")
    assert found.any(axis=1).tolist() == [True, False, False, True]
    assert found[3, 4] == 1


@pytest.mark.parametrize(
    "rows,columns,message",
    [
        ([], COLUMNS, "no rows"),
        ([[1, 0, 0, 1, 1]], [], 'column "gaze_0_x" is missing'),
        ([[*row(1)[:-1], "x"]], COLUMNS, 'AU45_c is "x", expected a number'),
        ([row(1), row(10**9)], COLUMNS, "frames from 1 to 1000000000, but 2 rows"),
        ([row(1)[:-3]], COLUMNS, "cells, but the header has"),
    ],
)
def test_bad_files(tmp_path, rows, columns, message):
    path = write(tmp_path / "a.csv", rows, columns)
    with pytest.raises(DataError, match=message):
        openface.read(path, kind="openface")


def test_arrays_of_your_own(tmp_path):
    values = np.arange(6.0).reshape(3, 2)
    np.save(tmp_path / "a.npy", values)
    np.savez(tmp_path / "b.npz", vision=values, other=values[0])
    for name in ("a.npy", "b.npz"):
        found = openface.read_array(tmp_path / name)
        assert found.dtype == np.float32 and (found == values).all()
    np.savez(tmp_path / "b.npz", left=values, right=values)
    with pytest.raises(DataError, match="arrays left, right; expected one"):
        openface.read_array(tmp_path / "b.npz")
    np.save(tmp_path / "a.npy", values[0])
    with pytest.raises(DataError, match=r"array \[2\] of float64, expected"):
        openface.read_array(tmp_path / "a.npy")
    np.save(tmp_path / "a.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(DataError, match="a.npy"):
        openface.read_array(tmp_path / "a.npy")


def test_a_missing_file_says_how_to_make_it(tmp_path):
    (tmp_path / "v").mkdir()
    write(tmp_path / "v" / "1.csv", [row(1)])
    write(tmp_path / "v_2.csv", [row(1)])
    for clip in "12":
        assert openface.find(tmp_path, "v", clip, kind="openface").is_file()
    with pytest.raises(DataError, match="3.csv; run OpenFace 2 on each clip: Feature"):
        openface.find(tmp_path, "v", "3", kind="openface")
    with pytest.raises(DataError, match=r"1.npy or .npz; save the features"):
        openface.find(tmp_path, "v", "1", kind="files")
