"""A small file takes little memory and time, whatever it claims: one test for each kind of bomb."""

import pytest

from tests.data import bombs
from tests.data.limited import MEMORY, SECONDS
from tests.data.test_fuzz import run


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """{(format, name): what reading it took}, all of them read in one process."""
    folder, args, names = tmp_path_factory.mktemp("bombs"), [], []
    for format, made in bombs.FORMATS.items():
        for name, content in made():
            assert len(content) < 10**6, name
            path = folder / f"{format} {name}"
            path.write_bytes(content)
            names.append((format, name))
            args += [format, path]
    return dict(zip(names, run("read", *args), strict=True))


def test_no_small_file_takes_a_gigabyte_or_twenty_seconds(measured):
    taken = {key: (found["bytes"], found["seconds"]) for key, found in measured.items()}
    assert len(taken) > 50
    assert {k: v for k, v in taken.items() if v[0] >= MEMORY or v[1] >= SECONDS} == {}
    errors = {key: found["error"] for key, found in measured.items()}
    assert {
        k: v for k, v in errors.items() if len(v) > 1000 or "memory than" in v
    } == {}


@pytest.mark.parametrize(
    "format, name, message",
    [
        ("mmsa", "one long text", "raw_text, 1500 rows of which one is 300000 char"),
        ("mmsa", "a text by reference", "raw_text, 1000 rows of which one is 300000"),
        (
            "mmsa",
            "a list in every column",
            "raw_text, 100000 values, the file's 200.4 kB",
        ),
        ("mmsa", "a dtype's long name", "it unfolds to many times its size"),
        ("mmsa", "a dtype's long state", "it unfolds to many times its size"),
        ("mmsa", "sets of one list", "it unfolds to many times its size"),
        ("mmsa", "dicts of one list", "it unfolds to many times its size"),
        ("mmsa", "scalars of one text", "it unfolds to many times its size"),
        ("mmsa", "many keys", "00029, ... and 19970 more (20000 in all)"),
        ("mult", "rows without ids", "labels, 60000 values, the file's"),
        ("mag", "words by reference", "words, 200 rows of which one is 100000 char"),
        (
            "mag",
            "one long row",
            "acoustic [2001, 100000, 1], the file's 567.4 kB would",
        ),
        (
            "mmsa",
            "labels in lists of lists",
            "regression_labels has rows of many values",
        ),
        ("mmsa", "labels of no number", "regression_labels has rows of many values"),
        ("mmsa", "labels in deep lists", "regression_labels: it is nested too deeply"),
        (
            "mmsa",
            "labels that are lists by reference",
            "labels, 190000 rows of several",
        ),
        ("mmsa", "labels that are arrays by reference", "labels, 190000 rows of sever"),
        (
            "npz",
            "a long header",
            "id of the npz has a header of 900,000,000 bytes, exp",
        ),
        (
            "npz",
            "a header of no value",
            "its header says no shape and type of an array",
        ),
        ("npz", "ids of no width", "id, 1000000000 values, the file's 0.9 kB would"),
        ("npz", "many short ids", "would unfold to"),
        ("npz", "a modality of zeros", "audio [1, 40000000, 1], the file"),
        ("npz", "lzma", "compressed by method 14, as numpy writes none"),
        ("npz", "a long name of a split", 'unknown split "' + "x" * 40 + '". Known'),
        ("label_csv", "one long text", "text, 10001 rows of which one is 130000"),
        ("label_csv", "an unknown column", "line 1: a cell has more than 131,072 char"),
    ],
)
def test_what_a_bomb_is_called(format, name, message, measured):
    assert message in measured[format, name]["error"]


def test_what_is_within_the_bounds_is_read(measured):
    assert measured["meld", "dialogues of one line"]["error"] == ""
    assert measured["npz", "features up to the limit"]["error"] == ""
