"""Workdirs of an older version are evaluated, reported and gone on with.

older_runs.tar.xz was recorded at commit 06bcf50, when recipes were ml_collections' dicts, by
`python -m msajax.main --config configs/demo.py:lf_dnn` with the values of RECIPE: a finished
run, and one of the same values that a signal stopped in its second epoch.
"""

import csv
import json
import pathlib
import tarfile

import numpy as np
import pytest

import msajax
from msajax import main
from msajax.run import output, recipe, saved, workdir

RECIPE = (
    *("--config", "lf_dnn:demo", "--config.train.seeds=1", "--config.train.epochs=3"),
    *("--config.parallel.devices=1", "--config.model.hidden_dims=4,4,4"),
    *("--config.model.text_out=4", "--config.model.post_fusion_dim=4"),
)
# Another machine, or level of the compiler's optimizations, rounds otherwise.
CLOSE = 1e-4


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("older")
    with tarfile.open(pathlib.Path(__file__).with_name("older_runs.tar.xz")) as file:
        file.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module")
def recorded(runs):
    """The results as the older version wrote them."""
    return json.loads((runs / "finished" / "results.json").read_text())


def predictions(path):
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [row["id"] for row in rows], [float(row["prediction"]) for row in rows]


def assert_same_figures(found, expected):
    for metric, figures in expected.items():
        np.testing.assert_allclose(
            found[metric]["values"], figures["values"], atol=CLOSE
        )


def test_an_older_recipe_is_the_same_run(runs):
    pairs = [tuple(x.removeprefix("--config.").split("=")) for x in RECIPE[2:]]
    options = workdir.load_options(runs / "finished")
    assert saved.differences(recipe.load("lf_dnn:demo", pairs), options) == []


def test_an_older_run_is_evaluated(runs, recorded, tmp_path, capsys):
    args = ["--workdir", str(runs / "finished"), "--mode", "evaluate"]
    assert main.main([*args, *RECIPE, "--output", str(tmp_path / "p.csv")]) == 0
    assert f"{recorded['test']['mae']['mean']:.3f}" in capsys.readouterr().out
    ids, scores = predictions(tmp_path / "p.csv")
    old_ids, old_scores = predictions(runs / "finished" / "predictions_test.csv")
    assert ids == old_ids
    np.testing.assert_allclose(scores, old_scores, atol=CLOSE)
    run = msajax.open_run(runs / "finished")
    assert_same_figures(run.evaluate("valid").splits["valid"], recorded["valid"])


def test_an_older_run_is_reported_again(runs, recorded):
    log = (runs / "finished" / "seed_1" / "log.jsonl").read_bytes()
    assert main.main([*RECIPE, "--workdir", str(runs / "finished")]) == 0
    found = json.loads((runs / "finished" / "results.json").read_text())
    later = {
        "seconds_per_epoch",
        "phase_seconds",
        "peak_memory",
        "parameters",
        "precision",
    }
    assert found.keys() == recorded.keys() | later
    assert found["seconds_per_epoch"] == [None] and found["peak_memory"] is None
    assert output.read_results(runs / "finished").facts["peak_memory"] is None
    for split in ("valid", "test"):
        assert_same_figures(found[split], recorded[split])
    for key in ("epochs", "seconds", "seeds", "data_sha256", "checkpoint", "stopped"):
        assert found[key] == recorded[key]
    assert (runs / "finished" / "seed_1" / "log.jsonl").read_bytes() == log


def test_an_older_run_that_was_stopped_goes_on(runs, recorded):
    folder = runs / "interrupted"
    first = (folder / "seed_1" / "log.jsonl").read_text().splitlines()
    assert main.main([*RECIPE, "--workdir", str(folder)]) == 0
    lines = (folder / "seed_1" / "log.jsonl").read_text().splitlines()
    assert lines[: len(first)] == first and len(lines) == 3 > len(first)
    found = json.loads((folder / "results.json").read_text())
    assert found["epochs"] == [3] and found["seconds_per_epoch"] == [None]
    for split in ("valid", "test"):
        assert_same_figures(found[split], recorded[split])
