import pickle

import numpy as np
import pytest

from msajax.data.errors import DataError
from msajax.data.read import read


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("aligned", [False, True])
def test_arrays_and_masks_of_a_file(aligned, protocol, samples, write):
    data = samples.mmsa_data(aligned=aligned)
    corpus = read(write(data, protocol=protocol), dataset="mosi")
    assert list(corpus.splits) == ["train", "valid", "test"] and corpus.notes == ()
    for name, split in corpus.splits.items():
        entry = data[name]
        assert split.ids.tolist() == entry["id"].tolist()
        assert split.raw_text.tolist() == entry["raw_text"].tolist()
        np.testing.assert_array_equal(
            split.arrays["label"], entry["regression_labels"].astype(np.float32)
        )
        for key in ("text", "audio", "vision"):
            x, mask = split.arrays[key], split.arrays[f"{key}_mask"]
            assert x.dtype == np.float32 and mask.dtype == bool
            np.testing.assert_array_equal(x, entry[key].astype(np.float32))
            np.testing.assert_array_equal(mask, entry[key].any(axis=-1))
        ids, mask, segments = entry["text_bert"].transpose(1, 0, 2)
        np.testing.assert_array_equal(split.arrays["text_ids"], ids.astype(np.int32))
        np.testing.assert_array_equal(split.arrays["text_mask"], mask.astype(bool))
        np.testing.assert_array_equal(split.arrays["text_type"], segments)
        assert (
            split.arrays["text_ids"].dtype == split.arrays["text_type"].dtype == "int32"
        )


def test_labels_of_single_modalities(samples, write):
    data = samples.mmsa_data(sims=True)
    arrays = read(write(data), dataset="sims").splits["train"].arrays
    for name, letter in (("text", "T"), ("audio", "A"), ("vision", "V")):
        expected = data["train"][f"regression_labels_{letter}"].astype(np.float32)
        np.testing.assert_array_equal(arrays[f"label_{name}"], expected)


def test_python_2_and_numpy_1(samples, write):
    data = samples.mmsa_data()
    for split in data.values():
        split["raw_text"] = [text.replace("’", "'") for text in split["raw_text"]]
    old = read(write(samples.python2_pickle(data), "old.pkl"), dataset="mosi")
    numpy1 = read(write(samples.numpy1(pickle.dumps(data)), "np1.pkl"), dataset="mosi")
    new = read(write(data), dataset="mosi")
    for split in new.splits:
        for key, array in new.splits[split].arrays.items():
            np.testing.assert_array_equal(old.splits[split].arrays[key], array)
            np.testing.assert_array_equal(numpy1.splits[split].arrays[key], array)
        assert old.splits[split].ids.tolist() == new.splits[split].ids.tolist()


def test_lengths_of_the_file_win_over_zeros(samples, write):
    data = samples.mmsa_data()
    data["train"]["audio_lengths"] = [7, 7, 5, 0]  # 0, but there is data: 1 step
    data["train"]["audio"][1:, 4:] = 0
    data["train"]["audio"][3, 0] = 1
    corpus = read(write(data), dataset="mosi")
    mask = corpus.splits["train"].arrays["audio_mask"]
    assert mask.sum(axis=1).tolist() == [7, 7, 5, 1]


def test_other_keys_are_left_out_with_a_note(samples, write):
    data = {"config": {"audio": {"tool": "librosa"}}, **samples.mmsa_data()}
    assert read(write(data), dataset="mosi").notes == ("left out: config",)


def test_a_file_without_labels_and_splits(samples, write):
    entry = samples.mmsa_data()["train"]
    del entry["regression_labels"]
    corpus = read(write(entry), dataset="mosi", labels=False)
    assert list(corpus.splits) == ["all"] and "label" not in corpus.splits["all"].arrays
    with pytest.raises(DataError, match='the key "regression_labels" is missing'):
        read(write(entry), dataset="mosi")


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("text_bert", np.zeros((4, 2, 5)), r"shape \[4, 2, 5\], expected \[N, 3, L\]"),
        ("text_bert", np.full((4, 3, 5), 0.5), "text_bert holds something else"),
        ("text_bert", np.full((4, 3, 5), 2.0), "mask of text_bert is no run of ones"),
        (
            "text_bert",
            np.tile([1, 0, 1, 1, 1], (4, 3, 1)),
            "mask of text_bert is no run",
        ),
        ("text_bert", np.ones((4, 3, 9)), "text has 5 steps, but 9 word pieces"),
        ("audio_lengths", [1, 2, -3, 4], "audio_length holds something else"),
        ("audio_lengths", ["a", 2, 3, 4], "audio_lengths holds 'a', expected numbers"),
        ("audio", [[1.0]], r"audio is of type list, expected an array \[N, L, D\]"),
        ("id", None, "id is of type NoneType, expected a list or an array"),
    ],
)
def test_bad_arrays(key, value, message, samples, write):
    data = samples.mmsa_data()
    data["train"][key] = value
    with pytest.raises(DataError, match=message):
        read(write(data), dataset="mosi")
