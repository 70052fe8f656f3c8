import json

import numpy as np
import pytest

from tools.parity.case import read_case

ARRAYS = {"in/x": np.zeros((2, 3)), "out/y": np.array([1.0, -4.0]), "out/z": np.ones(1)}
FACTS = {
    "model": "align_subnet",
    "hyperparameters": {"feature_dims (t,a,v)": [1, 2, 3], "num_classes/output_dim": 4},
    "arrays": {name: {"shape": list(a.shape)} for name, a in ARRAYS.items()},
    "float64_check": {
        "meaning": "text",
        "out": {
            "max_abs_diff": 1e-3,
            "max_abs_diff_array": "out/z",
            "max_diff_over_max_value": 2e-4,
            "max_diff_over_max_value_array": "out/y",
        },
    },
}


def write(folder, facts=FACTS, arrays=ARRAYS):
    (folder / "case.json").write_text(json.dumps(facts))
    np.savez(folder / "arrays.npz", **arrays)
    return folder


def test_settings_groups_and_noise(tmp_path):
    case = read_case(write(tmp_path))
    assert case.setting("feature_dims") == [1, 2, 3]
    assert case.setting("output_dim") == case.setting("num_classes") == 4
    assert set(case.group("out/")) == {"y", "z"}
    assert case.expects("out/y") and not case.expects("grad/")
    assert case.noise == pytest.approx({"out/z": 1e-3, "out/y": 8e-4})


def test_what_the_case_lacks_is_named(tmp_path):
    case = read_case(write(tmp_path))
    with pytest.raises(
        ValueError, match='no hyperparameter "rank"; it has: feature_dims'
    ):
        case.setting("rank")
    with pytest.raises(ValueError, match='no array "text"; here are: x'):
        case.group("in/")["text"]


@pytest.mark.parametrize("name", ["case.json", "arrays.npz"])
def test_missing_files(tmp_path, name):
    (write(tmp_path) / name).unlink()
    with pytest.raises(ValueError, match=f"is no case: it has no file {name}"):
        read_case(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"model": "tfn"}'])
def test_unusable_descriptions(tmp_path, text):
    (write(tmp_path) / "case.json").write_text(text)
    with pytest.raises(ValueError, match="case.json does not describe a case"):
        read_case(tmp_path)


def test_arrays_must_be_as_listed(tmp_path):
    write(tmp_path, arrays={**ARRAYS, "out/y": np.ones(3)})
    with pytest.raises(ValueError, match=r"out/y should be \(2,\), but is \(3,\)"):
        read_case(tmp_path)
    write(tmp_path, arrays={"in/x": ARRAYS["in/x"]})
    with pytest.raises(ValueError, match=r"out/y should be \(2,\), but is missing"):
        read_case(tmp_path)


def test_truncated_arrays(tmp_path):
    path = write(tmp_path) / "arrays.npz"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match="no complete .npz file"):
        read_case(tmp_path)
