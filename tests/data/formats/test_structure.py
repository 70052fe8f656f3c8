"""Pickles of another structure are named, and never blamed on a format that they are not."""

import numpy as np
import pytest

from msajax.data.errors import DataError
from msajax.data.formats.structure import format_of
from msajax.data.read import read

ROW = (["a", "b"], np.ones((2, 3)), np.ones((2, 4)))
DIALOGUES = {"d0": ["u0", "u1"], "d1": ["u0"]}


def test_formats(samples):
    assert format_of(samples.mmsa_data()) == "mmsa"
    assert format_of(samples.mmsa_data()["train"]) == "mmsa"
    assert format_of(samples.mult_data()) == "mult"
    assert format_of(samples.mag_data()) == "mag"
    assert format_of(samples.mag_data()["train"]) == "mag"
    assert format_of([1, (ROW, 1.0, "x")]) == "mag"  # one damaged row
    conversations = (DIALOGUES, DIALOGUES, DIALOGUES, {"d0"}, ["d1"])
    assert format_of(conversations) == "conversations"


@pytest.mark.parametrize(
    "data,match",
    [
        (
            [{"id": "a", "text": [1.0]}] * 4,
            r"the pickle is a list of 4 \(dict\), the first with the keys id, text; expec",
        ),
        (
            {"train": [{"id": "a", "text": ROW[1]}], "test": []},
            r'the split "train" is a list of 1 \(dict\), the first with the keys id, text',
        ),
        (
            {f"v{i}": {"text": ROW[1], "label": 1.0} for i in range(9)},
            r"the pickle is a dict of 9 \(dict\) by v0, v1, v2, ..., the first with the "
            "keys text, label; expected train, valid and test, each a dict of arrays",
        ),
        ({"text": {"train": 1}, "audio": {"train": 1}}, "by text, audio, the first with the keys train;"),
        ({"train": ROW[1]}, r'the split "train" is an array \[2, 3\] of float64; expec'),
        (ROW[1], r"the pickle is an array \[2, 3\] of float64; expected a dict of arrays"),
        ((ROW[1], [1.0], ROW[1], 9), r"a tuple of 4 \(ndarray, list, int\); expected"),
        ({"train": []}, 'the split "train" is of type list; expected'),
        ("x", "the pickle is of type str; expected"),
    ],
)  # fmt: skip
def test_other_structures(data, match, write):
    with pytest.raises(DataError, match=match) as error:
        read(write(data), dataset="mosi")
    assert "words, visual" not in str(error.value).split("; expected")[0]


@pytest.mark.parametrize("name", ["mmsa", "mult", "mag"])
def test_one_split_under_two_names(name, samples, write):
    data = getattr(samples, f"{name}_data")()
    data["test"] = data["train"]
    with pytest.raises(DataError, match="some of the splits train, .* the same object"):
        read(write(data), dataset="mosi")


def test_keys_are_those_of_the_file(samples, write):
    """Also where a reader has taken arrays out, or reads only some."""
    for made, key in (
        (samples.mmsa_data, "regression_labels"),
        (samples.mult_data, "labels"),
    ):
        data = made()
        for entry in data.values():
            for name in (key, "classification_labels", "annotations"):
                entry.pop(name, None)
        names = ", ".join(sorted(data["train"]))
        assert "text" in names and "vision" in names
        format = "mmsa" if "raw_text" in names else "mult"
        with pytest.raises(
            DataError, match=f'"{key}" is missing; the split "train" has: {names}$'
        ):
            read(write(data), dataset="mosi", format=format)
        with pytest.raises(DataError, match=f"is missing; the file has: {names}$"):
            read(write(data["train"]), dataset="mosi", format=format)
    arrays = samples.npz_data()
    arrays["my_labels"] = arrays.pop("label")
    names = ", ".join(sorted(arrays))
    with pytest.raises(DataError, match=f'"label" is missing; the file has: {names}$'):
        read(write(samples.npz_bytes(arrays)), dataset="mosi")
