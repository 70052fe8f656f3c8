"""Predictions as csv: every id is one row, as it is; outputs are files."""

import csv

import numpy as np
import pytest

from msajax import output
from msajax.data.spec import Split

IDS = [
    *("plain", "a,b", 'say "a"', "cr\rinside", "end\r", "nl\ninside", "crlf\r\n", "ü"),
    *(" space ", "'", '"', "", "=1+1", "-3g5yACwYnA_13", "+1", "@x", "\ttab"),
]


@pytest.fixture
def split():
    n = len(IDS)
    return Split(
        np.array(IDS), np.array([""] * n), {"label": np.arange(n, dtype=np.float32)}
    )


@pytest.mark.parametrize("classes", [(), ("no", "yes, so")])
def test_ids_are_found_again(tmp_path, split, classes):
    n = len(IDS)
    pred = np.linspace(-1, 1, n)
    if classes:
        split.arrays["label"] = np.arange(n) % 2
        pred = np.stack([pred, -pred], axis=1)
    path = tmp_path / "p.csv"
    output.write_predictions(path, split, {1: pred, 2: pred}, classes)
    with open(path, encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file, strict=True)
    assert header == ["id", "label", "prediction", "seed"]
    assert [row[0] for row in rows] == 2 * IDS
    assert {len(row) for row in rows} == {4} and rows[-1][3] == "2"
    assert rows[1][1] == ("yes, so" if classes else "1")
    # A reader that does not keep line ends has other ids, but the same rows.
    with open(path, encoding="utf-8") as file:
        assert len(list(csv.reader(file, strict=True))) == 1 + 2 * n


def test_ids_like_formulas_are_told_once(split):
    note = output.formulas([split, split])
    assert note.startswith(
        "10 of 34 ids begin like a formula ('=1+1'): they are in the"
    )
    assert (
        output.formulas([Split(np.array(["a-b", "1"]), np.array(["", ""]), {})]) == ""
    )


def test_outputs_that_are_no_files(tmp_path):
    assert output.check(tmp_path / "new.csv") == tmp_path / "new.csv"
    for path, message in (
        (tmp_path / "none" / "a.csv", "there is no folder"),
        (tmp_path, "is a folder; name a file in it"),
        ("/dev/null", "is no ordinary file"),
    ):
        with pytest.raises(ValueError, match=message):
            output.check(path)
