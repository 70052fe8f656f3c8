import numpy as np
import pytest

from msajax.data import loader
from msajax.data.errors import DataError
from msajax.data.read import read
from msajax.data.spec import DATASETS
from msajax.run import recipe
from msajax.train.evaluate import metric_names


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


def test_the_four_emotions_of_iemocap(write):
    """iemocap_data.pkl: 20 steps, widths 300, 74 and 35, and a pair for each emotion."""
    rng, emotion = np.random.default_rng(0), np.array([3, 0, 1, 2, 0])
    on = np.eye(4)[emotion]
    entry = {
        key: rng.normal(size=(5, 20, width)).astype(np.float32)
        for key, width in (("vision", 35), ("text", 300), ("audio", 74))
    }
    entry["audio"][0, 0, 0] = -np.inf
    entry["labels"] = np.stack([1 - on, on], axis=-1)
    data = {name: {**entry} for name in ("train", "valid", "test")}
    corpus = read(write(data), dataset="iemocap4")
    train = corpus.splits["train"]
    assert train.arrays["label"].tolist() == emotion.tolist()
    assert train.ids.tolist() == [f"train_{i}" for i in range(5)]
    spec = loader.make_spec(corpus)
    assert (spec.dims, spec.lengths) == ((300, 74, 35), (20, 20, 20))
    assert spec.classes == ("neutral", "happy", "sad", "angry")
    assert recipe.load("mult:iemocap4").train.select in metric_names(
        DATASETS["iemocap4"]
    )


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
