"""Predictions as csv: every id is one row, as it is; outputs are files."""

import csv
import dataclasses
import json

import numpy as np
import pytest

from msajax.report.results import Predictions, Results
from msajax.run import output

IDS = [
    *("plain", "a,b", 'say "a"', "cr\rinside", "end\r", "nl\ninside", "crlf\r\n", "ü"),
    *(" space ", "'", '"', "", "=1+1", "-3g5yACwYnA_13", "+1", "@x", "\ttab"),
]


def made(classes=()):
    """Predictions of two seeds; the label of a row is its number, or alternates."""
    n = len(IDS)
    labels, pred = np.arange(n, dtype=np.float32), np.linspace(-1, 1, n)
    if classes:
        labels, pred = np.arange(n) % 2, np.stack([pred, -pred], axis=1)
    return Predictions(np.array(IDS), {1: pred, 2: pred / 2}, classes, labels)


@pytest.mark.parametrize("classes", [(), ("no", "yes, so")])
def test_ids_are_found_again(tmp_path, classes):
    n = len(IDS)
    path = tmp_path / "p.csv"
    output.write_predictions(path, made(classes))
    with open(path, encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file, strict=True)
    assert header == ["id", "label", "prediction", "seed"]
    assert [row[0] for row in rows] == 2 * IDS
    assert {len(row) for row in rows} == {4} and rows[-1][3] == "2"
    assert rows[1][1] == ("yes, so" if classes else "1")
    # A reader that does not keep line ends has other ids, but the same rows.
    with open(path, encoding="utf-8") as file:
        assert len(list(csv.reader(file, strict=True))) == 1 + 2 * n


@pytest.mark.parametrize("classes", [(), ("no", "yes, so")])
def test_scores_are_the_mean_over_the_seeds(tmp_path, classes):
    n = len(IDS)
    given = dataclasses.replace(
        made(classes), figures={"trust": np.arange(n, dtype=np.float32)}
    )
    output.write_scores(tmp_path / "s.csv", given)
    with open(tmp_path / "s.csv", encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file, strict=True)
    assert header == ["id", "score", "trust"] and len(rows) == len(given) == n
    assert [row[0] for row in rows] == IDS and rows[3][2] == "3"
    if classes:
        assert [row[1] for row in rows] == given.names
        assert {*given.names} == {*classes}
    else:
        scores = [float(row[1]) for row in rows]
        np.testing.assert_allclose(scores, 0.75 * np.linspace(-1, 1, n), atol=1e-7)
        assert given.names == []


def test_results_as_files(tmp_path):
    summary = {"mae": {"mean": 0.5, "std": 0.1, "values": [0.4, 0.6]}}
    splits = {"test": summary, "valid": {"mae": summary["mae"] | {"mean": 0.2}}}
    predictions = {"test": made()}
    facts = {"epochs": [3, 4]}
    given = Results("tfn", "demo", (1, 2), splits, facts, predictions=predictions)
    output.write_results(tmp_path, given, csv=False)
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]
    output.write_results(tmp_path, given)
    found = json.loads((tmp_path / "results.json").read_text())
    assert found == given.to_dict()
    assert [*found] == ["system", "dataset", "seeds", "test", "valid", "epochs"]
    assert (tmp_path / "predictions_test.csv").is_file()
    assert given["mae"] == 0.5  # of test, not of valid
    with pytest.raises(KeyError, match='no metric "f1". Known: mae'):
        _ = given["f1"]
    assert "tfn on demo corpus, seeds 1, 2" in str(given)


def test_ids_like_formulas_are_told_once():
    note = output.formulas([*IDS, *IDS])
    assert note.startswith(
        "10 of 34 ids begin like a formula ('=1+1'): they are in the"
    )
    assert output.formulas(["a-b", "1"]) == ""


def test_outputs_that_are_no_files(tmp_path):
    assert output.check(tmp_path / "new.csv") == tmp_path / "new.csv"
    for path, message in (
        (tmp_path / "none" / "a.csv", "there is no folder"),
        (tmp_path, "is a folder; name a file in it"),
        ("/dev/null", "is no ordinary file"),
    ):
        with pytest.raises(ValueError, match=message):
            output.check(path)
