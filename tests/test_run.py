"""Workdirs over several commands: corrected recipes, more seeds, unfinished and changed runs."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from msajax import config as configs
from msajax import main, workdir
from msajax.data import demo
from tests import toys

SHORT = ("--config.train.epochs=1", "--config.parallel.devices=1")


def run(folder, *args, config="configs/demo.py:lf_dnn"):
    first = ("--config", config) if config else ()
    return main.main([*first, "--workdir", str(folder), *args])


def write_npz(path, scale=1.0):
    """The demo corpus as our npz."""
    parts = demo.generate(0).splits
    arrays = {key: [] for key in ("id", "split", "label", "text", "audio", "vision")}
    for name, split in parts.items():
        arrays["id"].append(split.ids)
        arrays["split"].append(np.full(len(split), name))
        arrays["label"].append(split.arrays["label"])
        for modality in ("text", "audio", "vision"):
            arrays[modality].append(split.arrays[modality] * np.float32(scale))
    np.savez(path, **{k: np.concatenate(v) for k, v in arrays.items()})


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of seed 1 on a file."""
    folder = tmp_path_factory.mktemp("runs")
    write_npz(folder / "data.npz")
    path = f"--config.data.path={folder / 'data.npz'}"
    assert run(folder / "run", *SHORT, path, "--config.train.seeds=1") == 0
    return folder / "run"


def test_a_corrected_command_may_take_the_folder(tmp_path, capsys):
    wrong = ("--config.train.select=accc", "--config.train.batch_size=100000")
    for argument in wrong:
        assert run(tmp_path / "w", *SHORT, argument) == 1
    assert not (tmp_path / "w" / "config.json").exists()
    assert run(tmp_path / "w", *SHORT, "--config.train.seeds=1") == 0


def test_more_seeds_join_those_that_are_there(trained, capsys):
    path = f"--config.data.path={trained.parent / 'data.npz'}"
    assert run(trained, *SHORT, path, "--config.train.seeds=2") == 0
    assert json.loads((trained / "results.json").read_text())["seeds"] == [1, 2]


def results(folder):
    return json.loads((folder / "results.json").read_text())


@pytest.mark.parametrize(
    "option",
    ["train.seeds_at_once=2", "data.on_device=never", "parallel.devices=2"],
)
def test_another_way_to_run_gives_the_same_figures(trained, tmp_path, option):
    path = f"--config.data.path={trained.parent / 'data.npz'}"
    args = (
        *SHORT,
        path,
        "--config.train.seeds=1,2",
        "--config.model.audio_dropout=0.0",
    )
    args += (
        "--config.model.vision_dropout=0.0",
        "--config.model.post_fusion_dropout=0.0",
    )
    args += ("--config.optimizer.name=sgd",)
    assert run(tmp_path / "one", *args) == 0
    assert run(tmp_path / "other", *args, f"--config.{option}") == 0
    one, other = results(tmp_path / "one"), results(tmp_path / "other")
    for split, metric in [("test", "mae"), ("valid", "mae"), ("test", "corr")]:
        np.testing.assert_allclose(
            one[split][metric]["values"], other[split][metric]["values"], atol=1e-5
        )


def test_a_store_is_streamed_row_by_row(trained, tmp_path, monkeypatch):
    from msajax.data import prepared, store

    source = trained.parent / "data.npz"
    folder = store.prepare(source, dataset="demo", name="demo/x", root=tmp_path / "s")
    args = (*SHORT, f"--config.data.path={folder}", "--config.train.seeds=1")
    taken = []
    monkeypatch.setattr(
        prepared.StoredSequences,
        "__getitem__",
        lambda self, key, read=prepared.StoredSequences.__getitem__: (
            taken.append(key) or read(self, key)
        ),
    )
    for choice in ("always", "never"):
        option = f"--config.data.on_device={choice}"
        assert run(tmp_path / choice, *args, option) == 0
        assert bool(taken) == (choice == "never")
    assert results(tmp_path / "never")["test"] == results(tmp_path / "always")["test"]


def test_buckets_train_and_predict_every_row(trained, tmp_path):
    path = f"--config.data.path={trained.parent / 'data.npz'}"
    args = (*SHORT, path, "--config.train.seeds=1", "--config.data.buckets=3")
    assert run(tmp_path / "w", *args) == 0
    lines = (tmp_path / "w" / "predictions_test.csv").read_text().splitlines()
    ids = demo.generate(0).splits["test"].ids
    assert [line.split(",")[0] for line in lines[1:]] == list(ids)
    # What a checkpoint predicts does not depend on the buckets.
    more = ("--mode", "evaluate", "--output", str(tmp_path / "again.csv"))
    assert run(tmp_path / "w", *more, "--config.data.buckets=1", config=None) == 0
    again = (tmp_path / "again.csv").read_text().splitlines()
    for line, same in zip(lines[1:], again[1:], strict=True):
        assert line.split(",")[0] == same.split(",")[0]
        assert float(line.split(",")[2]) == pytest.approx(
            float(same.split(",")[2]), abs=1e-5
        )


def test_data_that_changed_is_not_evaluated_in_silence(trained, capsys):
    content = (trained.parent / "data.npz").read_bytes()
    write_npz(trained.parent / "data.npz", scale=0.5)
    assert run(trained, "--mode", "evaluate", config=None) == 1
    assert "its content has changed" in capsys.readouterr().err
    (trained.parent / "data.npz").write_bytes(content)
    assert run(trained, "--mode", "evaluate", config=None) == 0


def test_a_seed_that_is_not_finished_is_not_evaluated(
    tmp_path, trained, capsys, monkeypatch
):
    from msajax import run as modes

    monkeypatch.setattr(modes.Question, "__call__", lambda self: True)
    assert run(tmp_path / "w", *SHORT, "--config.train.epochs=9") in (130, 143)
    monkeypatch.undo()
    assert run(tmp_path / "w", "--mode", "evaluate", config=None) == 1
    message = capsys.readouterr().err
    assert "seed 1" in message and (
        "not trained to its end" in message or "no checkpoint" in message
    )


@pytest.mark.parametrize(
    "args,config,message",
    [
        (("--data", "x.npz"), "configs/demo.py:lf_dnn", "--data is for --mode evaluate"),
        (("--mode", "evaluate"), "configs/demo.py:tfn", "holds another run than configs/demo.py:tfn, with"),
        (("--mode", "evaluate"), "nowhere.py", "no config file nowhere.py"),
        (("--mode", "evaluate", "--output", "no/where.csv"), None, "there is no folder no"),
    ],
)  # fmt: skip
def test_arguments_are_not_ignored(trained, capsys, args, config, message):
    assert run(trained, *args, config=config) == 1
    assert message in capsys.readouterr().err


def test_a_modality_that_is_absent_is_said(trained, tmp_path, capsys):
    split = demo.generate(0).splits["test"]
    arrays = {m: split.arrays[m] for m in ("text", "audio")}
    np.savez(tmp_path / "c.npz", id=split.ids, **arrays)
    args = ("--mode", "predict", "--data", str(tmp_path / "c.npz"))
    assert run(trained, *args, "--output", str(tmp_path / "s.csv"), config=None) == 0
    assert "vision is absent" in capsys.readouterr().out


def test_the_last_epoch_is_labelled(tmp_path, capsys):
    last = ("--config.train.select=last", "--config.train.seeds=1")
    assert run(tmp_path / "w", *SHORT, *last) == 0
    assert "checkpoint: last epoch" in capsys.readouterr().out


def test_nan_is_null_in_json(tmp_path):
    workdir.write_json(tmp_path / "x.json", {"corr": {"values": [float("nan"), 0.5]}})
    assert json.loads((tmp_path / "x.json").read_text()) == {
        "corr": {"values": [None, 0.5]}
    }


@pytest.mark.parametrize(
    "argument,message",
    [
        ("cycles=0", "config.cycles is 0"),
        ("data.buckets=0", "config.data.buckets 0"),
        ("data.on_device=maybe", 'config.data.on_device is "maybe"; give one of auto, always, never'),
        ("precision=float16", 'config.precision is "float16"; give one of float32, bfloat16'),
        ("train.seeds_at_once=0", "config.train.seeds_at_once is 0; give 'auto', or how many"),
        ("train.seeds_at_once=all", "config.train.seeds_at_once is 'all'"),
        ("parallel.devices=-1", "config.parallel.devices -1"),
        ("parallel.devices=5", "asks for 5 devices, but this machine has 4"),
        ("data.lengths=50,", r"config.data.lengths is (50,); give three numbers"),
        ("phases=(3,)", "config.phases has 3; give dicts"),
        ("phases=({'optimizer': 3},)", "a phase's optimizer is 3, but must be a dict"),
        ("phases=({'train': '('},)", "train is '(', which is no regex"),
        ("model.hidden_dims=(3,3)", "config.model.hidden_dims is (3, 3); give 3 values"),
        ("model.audio_dropout=1.5", "a dropout rate is at least 0, below 1"),
        ("model.criterion=huber", 'unknown criterion "huber"'),
        ("optimizer.learning_rate=-1.0", "learning_rate is -1.0, but must be at least 0"),
    ],
)  # fmt: skip
def test_values_that_make_no_sense(tmp_path, capsys, argument, message):
    assert run(tmp_path / "w", f"--config.{argument}") == 1
    assert message in capsys.readouterr().err


def test_a_recipe_that_fails_says_so(tmp_path, capsys):
    (tmp_path / "bad.py").write_text("def get_config(:\n")
    assert run(tmp_path / "w", config=str(tmp_path / "bad.py")) == 1
    assert "fails with SyntaxError" in capsys.readouterr().err


def test_a_run_on_a_converted_file_goes_on(trained, tmp_path, monkeypatch, capsys):
    """With its cache, with one more seed, and where the cache was lost."""
    from msajax.data import store

    monkeypatch.setattr(store, "_SMALL", 0)
    monkeypatch.setenv("MSAJAX_DATA", str(tmp_path / "cache"))
    path = f"--config.data.path={trained.parent / 'data.npz'}"
    folder = tmp_path / "run[1]"
    for lose, seeds in ((False, [1]), (False, [1]), (False, [2]), (True, [3])):
        if lose:
            shutil.rmtree(tmp_path / "cache")
        assert run(folder, *SHORT, path, f"--config.train.seeds={seeds[0]}") == 0
    assert results(folder)["seeds"] == [1, 2, 3]
    alone = results(trained)["test"]["mae"]["values"][0]
    assert results(folder)["test"]["mae"]["values"][0] == alone
    swap_seeds(folder)
    assert run(folder, *SHORT, path, "--config.train.seeds=1") == 1
    assert "is a checkpoint of seed 2, not of seed 1" in capsys.readouterr().err


def swap_seeds(folder):
    (folder / "seed_1").rename(folder / "x")
    (folder / "seed_2").rename(folder / "seed_1")
    (folder / "x").rename(folder / "seed_2")


def test_a_folder_of_before_specs_had_a_vocabulary_is_the_same_run(tmp_path):
    config = configs.load("configs/demo.py")
    workdir.claim(tmp_path, config, toys.SPEC, "abc")
    path = tmp_path / "spec.json"
    values = json.loads(path.read_text())
    assert values.pop("vocabulary") == 0
    path.write_text(json.dumps(values))
    assert workdir.load_spec(tmp_path) == toys.SPEC
    workdir.claim(tmp_path, config, toys.SPEC, "abc")
    words = dataclasses.replace(toys.SPEC, vocabulary=5)
    with pytest.raises(ValueError, match="data.vocabulary: 0 -> 5"):
        workdir.claim(tmp_path, config, words, "abc")
