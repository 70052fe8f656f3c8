"""Results as values, and as the results.json that a run keeps."""

import json
import math

import numpy as np
import pytest

from msajax.data.errors import DataError
from msajax.report.results import Predictions, Results
from msajax.run import output

NAN = float("nan")


def made(**changes):
    corr = {"mean": NAN, "std": NAN, "values": [0.25, NAN]}
    mae = {"mean": 1.5, "std": 0.5, "values": [1, 2]}
    facts = dict(
        epochs=[3, 4],
        seconds=[1.5, 2],
        seconds_per_epoch=[0.5, None],
        phase_seconds={"one": [0.5, None], "two": [0.25, 0.75]},
        peak_memory=1000,
        precision="float32",
        parameters={"trained": 20, "frozen": 3},
        version="0.1.0",
        config_sha256="c",
        data_sha256="d",
        checkpoint="best epoch by validation loss",
        stopped={"2": "diverged"},
        unread={"test": [1, 0]},
    )
    splits = {"valid": {"mae": mae, "corr": corr}, "test": {"mae": mae}}
    values = dict(system="tfn", dataset="mosi", seeds=(1, 2), splits=splits)
    return Results(**(values | dict(facts=facts) | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        dict(
            dataset="meld", classes=("a", "b"), confusion={"test": [[[1, 2], [3, 4]]]}
        ),
    ],
)
def test_what_is_written_is_read(changes, tmp_path):
    written = made(**changes)
    output.write_results(tmp_path, written)
    found = output.read_results(tmp_path)
    np.testing.assert_equal(found.to_dict(), written.to_dict())  # NaN equals NaN
    assert found.seeds == (1, 2) and found.predictions == {}
    assert found.epoch_seconds() is None and found.epoch_seconds("two") == (0.5, 0.25)
    assert found["mae"] == 1.5 and math.isnan(found.splits["valid"]["corr"]["mean"])
    with pytest.raises(KeyError, match="no metric .*acc.*Known: mae"):
        found["acc"]


def test_an_older_file_lacks_what_no_table_needs(tmp_path):
    values = made().to_dict()
    later = (
        "seconds_per_epoch",
        "phase_seconds",
        "peak_memory",
        "parameters",
        "precision",
    )
    for key in ("epochs", "version", "checkpoint", "stopped", *later):
        del values[key]
    values["valid"]["corr"] = {"mean": None, "std": None, "values": [0.25, None]}
    (tmp_path / "results.json").write_text(json.dumps(values | {"more": 1}))
    found = output.read_results(tmp_path)
    assert found.facts["seconds"] == [1.5, 2] and found.facts["stopped"] == {}
    assert found.facts["parameters"] == {} and found.facts["peak_memory"] == 0
    np.testing.assert_equal(found.splits["valid"]["corr"]["values"], [0.25, NAN])


@pytest.mark.parametrize(
    "changes,message",
    [
        (dict(seeds=["1"]), 'results.json: "seeds.0" is '),
        (dict(test={"mae": {"mean": 1.0, "std": 0.0}}), '"test.mae.values" is missing'),
        (dict(dataset="mossi"), 'unknown dataset "mossi"; did you mean "mosi"'),
    ],
)
def test_a_damaged_file_is_named(changes, message, tmp_path):
    values = made(splits={"valid": {}, "test": {}}).to_dict() | changes
    (tmp_path / "results.json").write_text(json.dumps(values))
    with pytest.raises(DataError) as error:
        output.read_results(tmp_path)
    assert message in str(error.value)
    assert str(error.value).endswith("; run the training command again")


def test_a_folder_without_results(tmp_path):
    with pytest.raises(DataError, match="results.json cannot be read"):
        output.read_results(tmp_path)


def test_a_notebook_shows_a_table_and_one_line():
    results = made(
        splits={"test": {"mae": {"mean": 1.5, "std": 0.5, "values": [1, 2]}}}
    )
    assert repr(results) == str(results) and "1.500 ± 0.500" in repr(results)
    predictions = Predictions(np.array(["a"]), {1: np.ones(1), 3: np.ones(1)})
    assert repr(predictions) == "Predictions(1 rows, seeds 1, 3)"
