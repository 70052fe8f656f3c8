import numpy as np
import pytest

from msajax.data.errors import DataError
from msajax.data.read import read


@pytest.mark.parametrize("protocol", [2, 5])
def test_arrays_and_ids_of_a_file(protocol, samples, write):
    data = samples.mult_data()
    corpus = read(write(data, protocol=protocol), dataset="mosei")
    split = corpus.splits["valid"]
    assert split.ids.tolist() == [f"valid{i}_1.5_2.5" for i in range(3)]
    assert split.raw_text.tolist() == [""] * 3
    np.testing.assert_array_equal(
        split.arrays["label"], data["valid"]["labels"].reshape(-1)
    )
    for key in ("text", "audio", "vision"):
        np.testing.assert_array_equal(split.arrays[key], data["valid"][key])
        mask = data["valid"][key].any(axis=-1)
        np.testing.assert_array_equal(split.arrays[f"{key}_mask"], mask)


def test_rows_without_ids_are_numbered(samples, write):
    data = samples.mult_data()
    for entry in data.values():
        del entry["id"]
    corpus = read(write(data), dataset="mosei")
    assert corpus.splits["test"].ids.tolist() == ["test_0", "test_1", "test_2"]


def test_minus_infinity_of_covarep(samples, write):
    data = samples.mult_data()
    data["train"]["audio"][0, 1, 2] = -np.inf
    data["train"]["audio"][1, 0, :2] = np.nan
    data["test"]["vision"][0, 0, 0] = np.inf
    corpus = read(write(data), dataset="mosei")
    assert corpus.notes == (
        "non-finite values set to 0: 3 in train audio, 1 in test vision",
    )
    assert corpus.splits["train"].arrays["audio"][0, 1, 2] == 0


def test_bad_files(samples, write):
    data = samples.mult_data()
    data["train"]["labels"] = np.zeros((3, 1, 1))
    with pytest.raises(DataError, match='label of the split "train" has 3 rows'):
        read(write(data), dataset="mosei")
    with pytest.raises(
        DataError, match='the split "train" is of type list, expected a dict'
    ):
        read(write({"train": [1]}), dataset="mosei", format="mult")
    with pytest.raises(
        DataError, match='the key "text" is missing; the split "train" has: id'
    ):
        read(write({"train": {"id": ["a"]}}), dataset="mosei", format="mult")
