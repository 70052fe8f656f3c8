"""The search: its space, its study, and trials trained together, pruned, killed and resumed."""

import csv
import fcntl
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import optuna
import pytest

import msajax
from msajax.run import recipe, trials
from msajax.run.trials import Outcome
from tools import tune
from tools.tuning import space, study

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
RATE = "optimizer.learning_rate=1e-4:1e-2:log"
DECAY = "optimizer.weight_decay=1e-6:1e-2:log"


def run(folder, *arguments, config="lf_dnn:demo", spaces=(RATE,)):
    given = [part for text in spaces for part in ("--space", text)]
    return tune.main(["--config", config, "--workdir", str(folder), *given, *arguments])


def sheet(folder):
    with open(folder / "trials.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def judged(monkeypatch):
    """Trials that would be trained: their figure is the learning rate, or fails above 5e-3."""
    made = []

    def train(self, group, *, stop, watch):
        made.append([trial.options for trial in group])
        found = []
        for trial in group:
            rate = trial.options.optimizer.learning_rate
            if rate > 5e-3:
                raise ValueError("the rate is too high")
            told = [watch(trial.number, epoch, rate) for epoch in range(8)]
            reason = next((reason for reason in told if reason), "")
            found.append(Outcome(None if reason else rate, (8,), 1.0, reason))
        return found

    monkeypatch.setattr(trials.Trials, "train", train)
    monkeypatch.setattr(trials.Trials, "network", lambda self, options: "one")
    return made


@pytest.mark.parametrize(
    "text,kind,values",
    [
        ("optimizer.learning_rate=1e-5:1e-3:log", "Float", (1e-5, 1e-3, True, None)),
        ("model.audio_dropout=0:0.5:0.1", "Float", (0.0, 0.5, False, 0.1)),
        ("train.batch_size=8:64:log", "Int", (8, 64, True, 1)),
        ("model.text_out=16:64:16", "Int", (16, 64, False, 16)),
    ],
)
def test_ranges(text, kind, values):
    (found,) = space.parse([text], "lf_dnn", {})
    d = found.distribution
    assert type(d).__name__ == f"{kind}Distribution"
    assert (d.low, d.high, d.log, d.step) == values
    assert found.is_continuous == (kind == "Float")


def test_choices_have_the_type_of_the_option():
    texts = [
        "model.text_out=16,32",
        "optimizer.name=adam,adamw",
        "model.padded=True,False",
    ]
    found = [d.distribution.choices for d in space.parse(texts, "lf_dnn", {})]
    assert found == [(16, 32), ("adam", "adamw"), (True, False)]


@pytest.mark.parametrize(
    "texts,message",
    [
        ([], "nothing to search; give --space KEY=LOW:HIGH"),
        (["model.text_out"], "expected KEY=LOW:HIGH"),
        (["model.text_outs=1,2"], 'unknown key "text_outs".*text_out'),
        (["model=1,2"], "config.model is a group"),
        (["model.hidden_dims=1,2,3"], "a list of 3 whole numbers; only numbers and"),
        (["optimizer.groups=1,2"], "only numbers and single choices"),
        (["optimizer.name=1:2"], "one of adam.*which has no range; list its values"),
        (["model.padded=0:1"], "True or False, which has no range"),
        (
            ["optimizer.name=adam,lion"],
            "config.optimizer.name is 'lion', but must be one",
        ),
        (["optimizer.learning_rate=-1:1"], "is -1, but must be at least 0"),
        (["model.text_out=1.5:3"], "is 1.5, but must be a whole number"),
        (["optimizer.learning_rate=1:1"], "1 is not below 1|1.0 is not below 1.0"),
        (["optimizer.learning_rate=0:1:log"], "begins above 0, not at 0"),
        (
            ["optimizer.learning_rate=0:1:lin"],
            'third part is "lin"; give "log", or a step',
        ),
        (["optimizer.learning_rate=0:1:2"], "a step above 0 and at most 1"),
        (["optimizer.learning_rate=0:1:0.1:2"], "a range is LOW:HIGH"),
        (["model.text_out=16"], "give two values or more"),
        (["model.text_out=16,16"], "each once"),
        (["train.select=mae,loss"], "decides what trials are trained or judged on"),
        (["train.seeds=1,2"], "decides what trials are trained or judged on"),
        (["parallel.devices=1,2"], "does not change what a run computes"),
        ([RATE, RATE], "--space has optimizer.learning_rate twice"),
        (
            ["train.epochs=3:5"],
            "train.epochs is set by --space and by --config.train.epochs",
        ),
    ],
)
def test_spaces_that_are_none(texts, message):
    with pytest.raises(ValueError, match=message):
        space.parse(texts, "lf_dnn", {"train.epochs": "4"})


def test_a_search_is_recorded_and_goes_on(tmp_path, judged, capsys):
    assert run(tmp_path, "--trials", "3", "--sampler", "random", "--at-once", "2") == 0
    assert [len(group) for group in judged] == [2, 1]
    first = sheet(tmp_path)
    assert [row["state"] for row in first] == ["complete"] * 3
    best = min(first, key=lambda row: float(row["valid_loss"]))
    assert f"best: trial {best['trial']}, loss" in capsys.readouterr().out
    # The file is the recipe of the best trial, with the seeds of the base.
    options = recipe.load(str(tmp_path / "best.py"))
    rate = options.optimizer.learning_rate
    assert rate == pytest.approx(float(best["optimizer.learning_rate"]), rel=1e-5)
    assert options.train.seeds == recipe.load("lf_dnn:demo").train.seeds
    assert (tmp_path / "trials.png").read_bytes().startswith(b"\x89PNG")
    text = (tmp_path / "trials.md").read_text("utf-8")
    assert "3 trials: 3 complete." in text and text.index(f"| {best['trial']} |")
    # Random values are a function of the trial's number alone.
    assert run(tmp_path, "--trials", "5", "--sampler", "random") == 0
    assert sheet(tmp_path)[:3] == first and len(sheet(tmp_path)) == 5
    assert run(tmp_path / "b", "--trials", "5", "--sampler", "random") == 0
    assert sheet(tmp_path / "b") == sheet(tmp_path)
    assert run(tmp_path, "--trials", "5") == 0 and len(judged) == 9


def test_trials_that_fail_are_counted_and_do_not_end_a_search(tmp_path, judged, capsys):
    wide = "optimizer.learning_rate=1e-3:1e-2"
    assert run(tmp_path, "--trials", "6", "--at-once", "6", spaces=(wide,)) == 0
    rows = sheet(tmp_path)
    failed = [row for row in rows if row["state"] == "failed"]
    assert failed and len(rows) == 6
    assert {row["note"] for row in failed} == {"the rate is too high"}
    for row in rows:
        high = float(row["optimizer.learning_rate"]) > 5e-3
        assert (row["state"] == "failed") == high
    high = "optimizer.learning_rate=6e-3:1e-2"
    assert run(tmp_path / "b", "--trials", "9", spaces=(high,)) == 1
    assert "all 3 trials so far failed" in capsys.readouterr().err


def test_the_median_ends_bad_trials(tmp_path, judged):
    options = ("--trials", "14", "--sampler", "random", "--prune", "median")
    assert run(tmp_path, *options, "--prune-after", "3", spaces=(RATE,)) == 0
    rows = sheet(tmp_path)
    pruned = [row for row in rows if row["state"] == "pruned"]
    assert pruned and all("pruned after epoch" in row["note"] for row in pruned)
    best = min(float(r["valid_loss"]) for r in rows if r["state"] == "complete")
    assert all(float(row["valid_loss"]) > best for row in pruned)


def opened(folder, **changes):
    options = recipe.change(recipe.load("lf_dnn:demo"), {"train.seeds": (1,)})
    values = dict(
        options=options,
        space=space.parse([RATE], "lf_dnn", {}),
        sampler="random",
        seed=0,
        pruner=optuna.pruners.NopPruner(),
        direction="minimize",
    )
    return study.Study(folder, **(values | changes))


def test_a_trial_of_a_process_that_ended_is_taken_up(tmp_path):
    one, two = opened(tmp_path), opened(tmp_path)
    (mine,) = one.take(1, 2)
    (other,) = two.take(2, 2)  # the first is held by a process that is at work
    assert (mine.trial.number, other.trial.number) == (0, 1)
    assert opened(tmp_path).take(2, 2) == []
    mine.held.close()  # as the system does it at the end of a process
    (again,) = two.take(2, 2)
    assert again.trial.number == 0 and again.values == mine.values
    two.put_back(again)  # saved and stopped: this does not count
    assert [t.state.name for t in two.trials()] == ["RUNNING", "RUNNING"]
    for _ in range(2):
        (again,) = two.take(2, 2)
        again.held.close()
    assert two.take(2, 2) == []
    lost = two.trials()[0]
    assert lost.state.name == "FAIL" and "killed 3 times" in lost.user_attrs["reason"]


def test_a_key_that_every_phase_has_itself_is_refused(tmp_path, judged, capsys):
    assert run(tmp_path, config="cormult:mosi") == 1
    assert (
        "config.optimizer.learning_rate has no effect: the phases"
        in capsys.readouterr().err
    )
    assert judged == []


def test_a_study_of_something_else_is_refused(tmp_path, judged, capsys):
    assert run(tmp_path, "--trials", "1") == 0

    def refused(message, *arguments, folder=tmp_path, **options):
        assert run(folder, "--trials", "2", *arguments, **options) == 1
        assert message in capsys.readouterr().err

    refused("optimizer.b1: 0.9 -> 0.8", "--config.optimizer.b1=0.8")
    refused("system: 'lf_dnn' -> 'tfn'", config="tfn:demo")
    refused("seeds: [1] -> [1, 2]", "--seeds", "1,2")
    refused("space: {'optimizer.learning_rate'", spaces=(RATE, DECAY))
    refused("the seeds of a search are given by --seeds", "--config.train.seeds=1")
    refused("better the other way round", "--config.train.select=corr")
    # A search whose recipe did not run leaves nothing that refuses the next one.
    opened(tmp_path / "fresh")
    assert run(tmp_path / "fresh", "--trials", "1", "--seeds", "2") == 0
    other = tmp_path / "other"
    other.mkdir()
    (other / "study.log").write_text("no journal\n")
    refused("is no journal of Optuna, or it is damaged", folder=other)
    (other / "study.log").unlink()
    backend = optuna.storages.journal.JournalFileBackend(str(other / "study.log"))
    storage = optuna.storages.JournalStorage(backend)
    optuna.create_study(study_name="mine", storage=storage)
    refused("holds the studies mine of another program", folder=other)
    (other / "config.json").write_text("{}")
    refused("holds a run, not a study", folder=other)
    refused("is a file; name a folder", folder=other / "config.json")
    with pytest.raises(ValueError, match="the data is not what the trials"):
        opened(tmp_path).check_data("0" * 64)
        opened(tmp_path).check_data("1" * 64)


def test_a_locked_study_is_told(tmp_path, judged, capsys, monkeypatch):
    monkeypatch.setattr(study, "_PATIENCE", 0.1)
    with open(tmp_path / ".study.lock", "w") as lock:
        lock.write("123")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert run(tmp_path) == 1
    assert "the study is locked: process 123 has held" in capsys.readouterr().err


def test_a_line_that_a_power_cut_left_is_cut_off(tmp_path):
    one = opened(tmp_path)
    (mine,) = one.take(1, 1)
    one.finish(mine, Outcome(0.5, (1,), 1.0, ""), pruned=False)
    with open(tmp_path / "study.log", "a") as file:
        file.write('{"op_code":4,"wor')
    again = opened(tmp_path)
    best = again.best()
    assert best and best.value == 0.5
    again.study.set_user_attr("more", 1)
    assert opened(tmp_path).study.user_attrs["more"] == 1


@pytest.mark.slow
def test_trials_at_once_equal_trials_alone(tmp_path):
    options = ("--trials", "2", "--config.train.epochs=2", "--sampler", "random")
    assert (
        run(tmp_path / "at_once", *options, "--at-once", "2", spaces=(RATE, DECAY)) == 0
    )
    rows = sheet(tmp_path / "at_once")
    for row in rows:
        values = {k: float(row[k]) for k in (RATE.split("=")[0], DECAY.split("=")[0])}
        alone = msajax.fit(
            "lf_dnn:demo", seeds=(1,), epochs=2, options=values, quiet=True
        )
        (log,) = alone.folder.glob("seed_1/log.jsonl")
        losses = [
            json.loads(line)["valid_loss"] for line in log.read_text().splitlines()
        ]
        assert float(row["valid_loss"]) == pytest.approx(min(losses), abs=1e-4)
    assert len({row["valid_loss"] for row in rows}) == 2
    # The folder of the best trial is a run, which its recipe goes on with.
    best = min(rows, key=lambda row: float(row["valid_loss"]))
    folder = tmp_path / "at_once" / f"trial_{int(best['trial']):04}"
    assert not (folder / "results.json").exists()
    made = msajax.fit(
        str(tmp_path / "at_once" / "best.py"), seeds=(1,), workdir=folder, quiet=True
    )
    found = made.evaluate("valid").splits["valid"]["mae"]["mean"]
    assert found == pytest.approx(float(best["valid_loss"]), abs=1e-4)


def started(folder):
    spaces = (RATE, DECAY, "model.text_out=16,32")
    given = [part for text in spaces for part in ("--space", text)]
    command = [sys.executable, "tools/tune.py", "--config", "lf_dnn:demo", *given]
    command += ["--workdir", str(folder), "--trials", "20", "--config.train.epochs=6"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "XLA_FLAGS": ""}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )


@pytest.mark.slow
def test_twenty_trials_of_two_processes_one_killed_and_resumed(tmp_path):
    def states():
        found = opened_quietly(tmp_path)
        return [] if found is None else [t.state.name for t in found]

    first, second = started(tmp_path), started(tmp_path)
    for _ in range(6000):
        if states().count("COMPLETE") >= 4:
            break
        time.sleep(0.1)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    killed = states()
    assert killed.count("COMPLETE") >= 4 and killed.count("RUNNING") >= 1
    third = started(tmp_path)
    outputs = [process.communicate(timeout=1800)[0] for process in (second, third)]
    assert second.returncode == third.returncode == 0
    rows = sheet(tmp_path)
    assert [row["trial"] for row in rows] == [str(i) for i in range(20)]
    assert {row["state"] for row in rows} == {"complete"}
    assert {row["epochs"] for row in rows} == {"6"}
    # Each was trained once, by one of the processes; none of the killed one is missing.
    told = [line for text in outputs for line in text.splitlines()]
    numbers = [line.split(":")[0] for line in told if line.startswith("trial ")]
    assert len(numbers) == len(set(numbers)) and all("best" in text for text in outputs)
    values = [float(row["valid_loss"]) for row in rows]
    assert np.isfinite(values).all() and len(set(values)) == 20
    assert (tmp_path / "trials.png").exists() and (tmp_path / "best.py").exists()
    for i in range(20):
        assert not (tmp_path / f"trial_{i:04}" / "results.json").exists()


def opened_quietly(folder):
    path = folder / "study.log"
    if not path.exists():
        return None
    backend = optuna.storages.journal.JournalFileBackend(str(path))
    found = optuna.storages.JournalStorage(backend)
    known = found.get_all_studies()
    return found.get_all_trials(known[0]._study_id) if known else None
