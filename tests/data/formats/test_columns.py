import numpy as np
import pytest

from msajax.data.errors import DataError
from msajax.data.formats import budget, columns
from msajax.data.formats.decode import Decoder


def test_strings():
    values = [
        "a",
        b"\xc3\xa9",
        np.str_("b"),
        3,
        2.5,
        np.int64(4),
        float("nan"),
    ]
    found = columns.strings(values, name="x")
    assert found.tolist() == ["a", "é", "b", "3", "2.5", "4", ""]
    assert found.dtype.kind == "U"
    assert columns.strings(np.array([[b"a"], [b"b"]]), name="x").tolist() == ["a", "b"]
    assert columns.strings(["\ud800"], name="x").tolist() == ["?"]
    decoder = Decoder("gbk")
    found = columns.strings(np.array(["我".encode("gbk")]), name="x", decoder=decoder)
    assert found.tolist() == ["我"]
    assert columns.strings([], name="x").shape == (0,)


@pytest.mark.parametrize("values", ["abc", None, {"a": 1}, [None], [["a"]], [10**5000]])
def test_what_is_no_string_is_refused(values):
    with pytest.raises(DataError, match="x (is of type|holds a) .*, expected"):
        columns.strings(values, name="x")


def test_one_endless_text_does_not_fill_the_memory():
    with budget.of([__file__]):
        with pytest.raises(DataError, match="x, 1001 rows of which one is 600000 char"):
            columns.strings(["a" * 600_000] + ["b"] * 1000, name="x")
    with budget.of([__file__]), pytest.raises(DataError, match="one is 1000000 char"):
        columns.strings([b"a" * 10**6] * 10**5, name="x")  # one object, by reference


def test_numbers():
    found = columns.numbers([1, 2.5, np.float32(3), True], name="x")
    assert found.tolist() == [1, 2.5, 3, 1] and found.dtype == np.float64
    assert columns.numbers(np.ones((2, 1, 1), int), name="x").tolist() == [1, 1]
    assert columns.numbers(np.array([1, 2.5], object), name="x").tolist() == [1, 2.5]
    for values, shown in ((["1"], "'1'"), ([None], "a NoneType"), ([[1]], "a list")):
        with pytest.raises(DataError, match=f"x holds {shown}, expected numbers"):
            columns.numbers(values, name="x")
    with pytest.raises(DataError, match="x holds a number that is complex or larger"):
        columns.numbers([10**400], name="x")


def test_names_with_empty_cells():
    values = ["Neutral", float("nan"), b"Sad"]
    for given in (values, np.array(values, object), np.array(values, object)[:, None]):
        found = columns.labels(given, name="x")
        assert found.reshape(-1).tolist() == ["Neutral", "", "Sad"]
    assert columns.labels([float("nan")] * 2, name="x").dtype == np.float64
    found = columns.labels(["我不喜欢".encode("gbk")], name="x", decoder=Decoder("gbk"))
    assert found.tolist() == ["我不喜欢"]


def test_features():
    x = np.ones((2, 3, 4), np.int8)
    assert columns.features(x, name="x") is x
    assert columns.features(x[:, 0], name="x").shape == (2, 1, 4)
    assert columns.features(x.astype(object), name="x").dtype == np.float64
    with pytest.raises(DataError, match=r"array \[2, 0, 4\]: it has no features"):
        columns.features(x[:, :0], name="x")
    with pytest.raises(DataError, match="x is an array of objects that are not all"):
        columns.features(np.array([["a", 1]], object), name="x")


def test_a_list_of_keys_is_whole_or_says_how_many_there_are():
    with pytest.raises(DataError, match='"x" is missing; the file has: 7, a, b$'):
        columns.get({"b": 1, "a": 2, 7: 3}, "x")
    with pytest.raises(DataError, match='"x" is missing; the split "test" has: none$'):
        columns.get({}, "x", split="test")
    shown = columns.listed([f"{'v' * 40}{i}" for i in range(2199)])
    assert shown.endswith("vvv..., ... and 2169 more (2199 in all)")
    assert shown.count("v" * 40) == 30 and len(shown) < 1500


def test_splits_of_a_pickle():
    assert columns.splits([1]) == ({"all": [1]}, ())
    assert columns.splits({"id": 1}) == ({"all": {"id": 1}}, ())
    found, notes = columns.splits({"Train": 1, "dev": 2, "config": 3, 7: 4})
    assert found == {"train": 1, "valid": 2} and notes == ("left out: config, 7",)
    with pytest.raises(DataError, match='the split "valid" twice'):
        columns.splits({"dev": 1, "valid": 2})


def test_whole_numbers():
    x = np.array([0, 1, 2**31 - 1, 2**31, -1, 0.5, np.nan, np.inf])
    assert columns.are_whole(x).tolist() == [True] * 3 + [False] * 5
