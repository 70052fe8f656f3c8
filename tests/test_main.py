"""The command line end to end on the demo corpus: files, tables, resume, and what users do wrong."""

import csv
import dataclasses
import errno
import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from msajax import main
from msajax.data import demo
from msajax.run import modes, workdir
from tests.conftest import CACHE

RECIPE = "lf_dnn:demo"
SHORT = (
    "--config.train.seeds=1,2",
    "--config.train.epochs=3",
    "--config.parallel.devices=1",
)


def run(folder, *args, config=RECIPE, short=SHORT):
    """Exit code of the command line, in this process."""
    first = ("--config", config) if config else ()
    return main.main([*first, "--workdir", str(folder), *short, *args])


def start(folder, *args):
    """The command line in a process of its own."""
    command = [sys.executable, "-u", "-m", "msajax.main", "--config", RECIPE]
    command += ["--workdir", str(folder), *SHORT, *args]
    env = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(CACHE.with_name("processes"))}
    env["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
    pipe = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return subprocess.Popen(command, env=env, **pipe)  # pyright: ignore


def rows(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run of two seeds."""
    folder = tmp_path_factory.mktemp("run") / "lf_dnn"
    assert run(folder) == 0
    return folder


def test_results_json(trained):
    result = json.loads((trained / "results.json").read_text())
    assert result["system"] == "lf_dnn" and result["dataset"] == "demo"
    assert result["seeds"] == [1, 2] and result["epochs"] == [3, 3]
    names = "mae corr acc7 acc5 acc3 acc2_has0 f1_has0 acc2_non0 f1_non0".split()
    for split in ("valid", "test"):
        assert list(result[split]) == names
        for figures in result[split].values():
            assert len(figures["values"]) == 2
            assert figures["mean"] == pytest.approx(np.mean(figures["values"]))
    assert result["checkpoint"] == "best epoch by validation loss"
    assert result["data_sha256"] == demo.generate(0).sha256
    assert len(result["config_sha256"]) == 64 and result["stopped"] == {}
    assert result["parameters"] == {"trained": 13145, "frozen": 0}
    assert 2**20 < result["peak_memory"] < 2**40
    assert result["precision"] == "float32"
    for each, total in zip(result["seconds_per_epoch"], result["seconds"], strict=True):
        assert 0 < each <= total / 2  # of three epochs, the first of which compiles


def test_predictions_give_the_reported_figures(trained):
    result = json.loads((trained / "results.json").read_text())
    found = rows(trained / "predictions_test.csv")
    assert list(found[0]) == ["id", "label", "prediction", "seed"]
    for seed, mae in zip((1, 2), result["test"]["mae"]["values"], strict=True):
        own = [r for r in found if r["seed"] == str(seed)]
        assert [r["id"] for r in own] == list(demo.generate(0).splits["test"].ids)
        errors = [abs(float(r["label"]) - float(r["prediction"])) for r in own]
        assert np.mean(errors) == pytest.approx(mae, abs=1e-6)


def test_logs(trained):
    lines = (trained / "seed_1" / "log.jsonl").read_text().splitlines()
    history = [json.loads(line) for line in lines]
    assert [row["epoch"] for row in history] == [0, 1, 2]
    assert {"train_loss", "valid_loss", "valid_mae", "lr_scale"} <= set(history[0])
    for name in ("train_grad_norm", "train_update_norm"):
        assert all(0 < row[name] < 100 for row in history)
    assert list((trained / "seed_1").glob("events.out.tfevents.*"))


def test_the_best_validation_epoch_is_reported(trained):
    result = json.loads((trained / "results.json").read_text())
    for seed, mae in zip((1, 2), result["valid"]["mae"]["values"], strict=True):
        lines = (trained / f"seed_{seed}" / "log.jsonl").read_text().splitlines()
        assert mae == min(json.loads(line)["valid_mae"] for line in lines)


def test_evaluate_equals_train(trained, capsys, tmp_path):
    capsys.readouterr()
    output = tmp_path / "again.csv"
    args = ("--mode", "evaluate", "--split", "test", "--output", str(output))
    assert run(trained, *args, config=None, short=()) == 0
    result = json.loads((trained / "results.json").read_text())
    assert f"{result['test']['mae']['mean']:.3f}" in capsys.readouterr().out
    assert output.read_bytes() == (trained / "predictions_test.csv").read_bytes()


def test_the_same_command_again_reports_the_same(trained, capsys):
    before = (trained / "results.json").read_bytes()
    assert run(trained) == 0
    assert (trained / "results.json").read_bytes() == before
    assert "MAE" in capsys.readouterr().out


def test_another_workdir_gives_the_same_bits(trained, tmp_path):
    assert run(tmp_path / "b") == 0
    for name in ("predictions_valid.csv", "predictions_test.csv", "seed_1/log.jsonl"):
        assert (tmp_path / "b" / name).read_bytes() == (trained / name).read_bytes()


def write_npz(path, corpus, split="test", **changes):
    """One split of a corpus as our npz, without labels; changes replace or drop keys."""
    rows = corpus.splits[split]
    arrays = {"id": rows.ids, "raw_text": rows.raw_text}
    arrays |= {m: rows.arrays[m] for m in ("text", "audio", "vision")}
    arrays |= changes
    np.savez(path, **{k: v for k, v in arrays.items() if v is not None})


def test_predict_scores_a_file_without_labels(trained, tmp_path):
    write_npz(tmp_path / "clips.npz", demo.generate(0))
    args = ("--mode", "predict", "--data", str(tmp_path / "clips.npz"))
    output = tmp_path / "scores.csv"
    assert run(trained, *args, "--output", str(output), config=None, short=()) == 0
    wanted = rows(trained / "predictions_test.csv")
    scores = rows(output)
    half = len(scores)
    for i, row in enumerate(scores):
        mean = (
            float(wanted[i]["prediction"]) + float(wanted[half + i]["prediction"])
        ) / 2
        assert row["id"] == wanted[i]["id"]
        assert float(row["score"]) == pytest.approx(mean, abs=1e-5)


def test_a_clip_that_lacks_a_modality_is_scored(trained, tmp_path, capsys):
    corpus = demo.generate(0)
    few = dataclasses.replace(
        corpus, splits={"test": corpus.splits["test"].take(np.arange(2))}
    )
    vision = np.zeros_like(few.splits["test"].arrays["vision"])
    args = ("--mode", "predict", "--output", str(tmp_path / "scores.csv"))
    scores = []
    for changes in (dict(vision=vision), dict(vision=None), {}):
        write_npz(tmp_path / "clips.npz", few, **changes)
        more = ("--data", str(tmp_path / "clips.npz"))
        assert run(trained, *args, *more, config=None, short=()) == 0
        scores.append([float(row["score"]) for row in rows(tmp_path / "scores.csv")])
    zeros, absent, whole = scores
    assert zeros == absent != whole
    out = capsys.readouterr().out
    assert "data: zeros only, so that every row lacks it: all vision (2 rows)" in out
    assert "all: in batches of 2 rows, not 32: it has no more" in out


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 3])
def test_a_killed_run_goes_on_to_the_same_bits(trained, tmp_path, times):
    rng = random.Random(7)
    kills = 0
    while True:
        process = start(tmp_path / "k", "--config.checkpoint.seconds=0")
        deadline = time.monotonic() + 120
        # Wait for the first checkpoint, then kill within the next saves.
        while process.poll() is None and time.monotonic() < deadline:
            done = list((tmp_path / "k").glob("seed_*/checkpoints/*[0-9]"))
            if len(done) > kills:
                break
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.25))
        if kills < times and process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            kills += 1
            continue
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
        break
    assert kills
    for name in ("predictions_valid.csv", "predictions_test.csv"):
        assert (tmp_path / "k" / name).read_bytes() == (trained / name).read_bytes()


def test_a_signal_saves_and_says_how_to_go_on(tmp_path):
    process = start(
        tmp_path / "s", "--config.train.epochs=100000", "--config.train.patience=0"
    )
    log = tmp_path / "s" / "seed_1" / "log.jsonl"
    while not (log.exists() and log.stat().st_size) and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 143, output
    assert "rerun the command to resume" in output
    assert list((tmp_path / "s").glob("seed_1/checkpoints/1"))


def test_a_busy_workdir_is_refused(tmp_path, capsys):
    process = start(
        tmp_path / "b", "--config.train.epochs=100000", "--config.train.patience=0"
    )
    while not (tmp_path / "b" / ".lock").exists() and process.poll() is None:
        time.sleep(0.05)
    time.sleep(0.2)
    try:
        assert run(tmp_path / "b") == 1
        assert (
            f"another run (process {process.pid}) is at work" in capsys.readouterr().err
        )
    finally:
        process.kill()
        process.communicate()


def test_a_workdir_of_another_config_is_refused(trained, capsys):
    assert run(trained, "--config.train.batch_size=16") == 1
    message = capsys.readouterr().err
    assert "holds another run, with train.batch_size: 32 -> 16" in message
    assert "Take another workdir" in message


@pytest.mark.parametrize(
    "args,message",
    [
        (["--config.train.epoch=3"], 'unknown key "epoch" in config.train; did you mean "epochs"'),
        (["--config.train.seeds=()"], "give at least one seed"),
        (["--config.train.batch_size=1000"], "a batch has 1000 rows, but the training split only 600"),
        (["--config.data.path=nowhere.pkl"], "nowhere.pkl"),
        (["--config.data.path=configs"], "configs"),
        (["--config.train.select=acc9"], 'unknown metric "acc9" in select; did you mean "acc'),
        (["--config.parallel.devices=64"], "asks for 64 devices, but this machine has"),
        (["--config.data.dims=(24,12,99)"], "vision has 16 features per step, but 99 are expected"),
        (["--config.data.lengths=(20,9,40)"], "at most 9 are expected; take the recipe"),
    ],
)  # fmt: skip
def test_what_users_do_wrong(tmp_path, capsys, args, message):
    assert run(tmp_path / "w", *args) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error
    assert not (tmp_path / "w" / "results.json").exists()


def test_options_without_effect_are_named(tmp_path, capsys):
    given = ("--config.optimizer.encoder_rate=1e-4", "--config.data.dims=(24,12,99)")
    assert run(tmp_path / "w", *given) == 1
    said = capsys.readouterr().err
    assert said.startswith(
        "config.optimizer.encoder_rate has no effect: no encoder is "
    )
    assert said.count("\n") == 2 and "\nerror: " in said


def test_wrong_use_of_a_workdir(trained, tmp_path, capsys):
    assert run(tmp_path / "empty", "--mode", "evaluate", config=None, short=()) == 1
    assert "holds no run (no config.json); train there first" in capsys.readouterr().err
    assert (
        run(trained, "--mode", "evaluate", "--split", "tets", config=None, short=())
        == 1
    )
    assert 'no split "tets"; did you mean "test"' in capsys.readouterr().err
    more = ("--mode", "evaluate", "--config.train.seeds=1,5")
    assert run(trained, *more, config=None, short=()) == 1
    assert "seed 5 has no checkpoint" in capsys.readouterr().err
    for key, value in (
        ("model.post_fusion_dim", "16"),
        ("data.split", "0.5,0.25,0.25"),
    ):
        more = ("--mode", "evaluate", f"--config.{key}={value}")
        assert run(trained, *more, config=None, short=()) == 1
        said = capsys.readouterr().err
        assert "a network that was trained with other values" in said
        assert f"{key}: " in said
    (tmp_path / "file").write_text("")
    assert run(tmp_path / "file") == 1
    assert "is a file; give a folder" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["config", "workdir", "data", "split", "output"])
def test_empty_arguments_are_refused(name, capsys):
    args = {"config": RECIPE, "workdir": "w"} | {name: ""}
    with pytest.raises(SystemExit):
        main.parse([f"--{key}={value}" for key, value in args.items()])
    assert f"--{name} is empty; give a value" in capsys.readouterr().err


def test_a_workdir_that_is_no_utf8_is_refused(capsys):
    with pytest.raises(SystemExit):
        main.parse(["--config", RECIPE, "--workdir", "\udcfc"])
    assert "is no UTF-8" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error,message",
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "a.json"),
            "No space left on device (a.json): make room on the disk; every finished",
        ),
        (
            ValueError("RESOURCE_EXHAUSTED: 9 lines: Too many open files"),
            "Too many open files: allow the process more, for example by `ulimit",
        ),
        (ValueError("a recipe"), "a recipe"),
    ],
)
def test_errors_of_the_system_are_told_in_a_line(monkeypatch, capsys, error, message):
    def fail(*_):
        raise error

    monkeypatch.setitem(modes.MODES, "train", fail)
    assert run("w") == 1
    told = capsys.readouterr().err
    assert told.startswith(f"error: {message}") and told.count("\n") == 1


def test_a_lock_that_is_a_link_is_refused(tmp_path, capsys):
    (tmp_path / "w").mkdir()
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "w" / ".lock").symlink_to(tmp_path / "precious")
    assert run(tmp_path / "w") == 1
    assert "precious; remove it" in capsys.readouterr().err
    assert (tmp_path / "precious").read_text() == "precious"
    (tmp_path / "w" / ".lock").unlink()
    (tmp_path / "link").symlink_to(tmp_path / "w")
    with workdir.locked(tmp_path / "link"):  # a folder may be reached by one
        assert (tmp_path / "w" / ".lock").read_text() == str(os.getpid())


def test_a_file_of_other_widths_cannot_be_scored(trained, tmp_path, capsys):
    corpus = demo.generate(0)
    wide = np.zeros((len(corpus.splits["test"]), 60, 74), np.float32) + 1
    write_npz(tmp_path / "wide.npz", corpus, audio=wide)
    args = ("--mode", "predict", "--data", str(tmp_path / "wide.npz"))
    assert run(trained, *args, config=None, short=()) == 1
    message = capsys.readouterr().err
    assert "audio has 74 features per step" in message and "COVAREP" in message


def test_a_loss_that_is_not_finite_is_reported(tmp_path, capsys, quick_random):
    wild = ("--config.optimizer.name=sgd", "--config.optimizer.learning_rate=1e38")
    assert run(tmp_path / "n", *wild) == 1
    captured = capsys.readouterr()
    assert "stopped: the loss became" in captured.out
    assert "no seed had a finite validation figure" in captured.err


@pytest.mark.parametrize(
    "argv,message",
    [
        (["--workdir", "x"], "--mode train needs --config RECIPE"),
        (["--workdir", "x", "--mode", "predict"], "--mode predict needs --data FILE"),
        *(
            (
                ["--workdir", "x", "--config", "y", "--mode", mode, f"--{name}", "z"],
                message,
            )
            for mode, name, message in (
                ("train", "data", "--data is for --mode evaluate and predict; to name"),
                ("import", "data", "set --config.data.path=FILE"),
                (
                    "train",
                    "output",
                    "--output is for --mode evaluate and predict; leave it",
                ),
                ("train", "split", "--split is for --mode evaluate; leave it out"),
                ("predict", "split", "--split is for --mode evaluate; leave it out"),
                ("import", "split", "--split is for --mode evaluate; leave it out"),
                ("import", "output", "--output is for --mode evaluate and predict"),
                (
                    "evaluate",
                    "weights",
                    "--weights is for --mode import, predict and serve",
                ),
            )
        ),
        *(
            (["--workdir", "x", "--mode", "predict", *given], message)
            for given, message in (
                (["--data", "a", "--media", "b"], "either, not both"),
                (["--data", "a", "--word-times", "b"], "--word-times is for a clip"),
                (["--media", "b", "--transcript", ""], "--transcript is empty"),
            )
        ),
        (["--workdir", "x", "--confg", "y"], "unknown argument --confg"),
        (["--workdir", "x", "--config", "y", "--config.a"], "--config.a needs a value"),
        (["--config", "y"], "--workdir"),
    ],
)
def test_wrong_arguments(capsys, argv, message):
    with pytest.raises(SystemExit) as exit:
        main.main(argv)
    assert exit.value.code == 2 and message in capsys.readouterr().err


def test_help_is_quick_and_shows_examples():
    began = time.monotonic()
    command = [sys.executable, "-X", "importtime", "-m", "msajax.main", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "examples:" in done.stdout and "--mode predict" in done.stdout
    assert done.stdout.startswith("usage: msajax [") and "what to do" in done.stdout
    assert "jax" not in [
        line.split("|")[-1].strip() for line in done.stderr.splitlines()
    ]
    assert time.monotonic() - began < 30  # about a second; what costs is not imported


@pytest.mark.slow
def test_three_modalities_beat_the_mean_and_each_alone(tmp_path, quick_random):
    def corr_and_mae(name, *args):
        fast = ("--config.train.seeds=1", "--config.train.epochs=12", *SHORT[2:])
        fast += ("--config.optimizer.learning_rate=3e-3",)
        assert run(tmp_path / name, *args, short=fast) == 0
        test = json.loads((tmp_path / name / "results.json").read_text())["test"]
        return test["corr"]["mean"], test["mae"]["mean"]

    corr, mae = corr_and_mae("all")
    labels = demo.generate(0).splits
    mean = labels["train"].arrays["label"].mean()
    assert mae < 0.75 * np.abs(labels["test"].arrays["label"] - mean).mean()
    for modality in ("text", "audio", "vision"):
        alone, _ = corr_and_mae(modality, f"--config.data.modalities={modality}")
        assert corr > alone + 0.1, modality
