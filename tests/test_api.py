"""The door: what a notebook calls equals the command line, and says what is wrong."""

import copy
import csv
import dataclasses
import inspect
import json
import pathlib
import signal
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import msajax
from msajax import api, encoders, main
from msajax.data import clean, demo
from msajax.run import corpora, recipe
from msajax.run.options import DataOptions
from msajax.train import log
from tests import small_encoders, toys

RECIPE = "lf_dnn:demo"
SHORT = dict(seeds=(1,), epochs=1, quiet=True)


@pytest.fixture(scope="module")
def fitted():
    """The run of the first line of a notebook; without a workdir it writes no csv."""
    run = msajax.fit(RECIPE, seeds=(1,), epochs=1, quiet=True)
    assert not [*run.folder.glob("*.csv")]
    return run


@pytest.fixture(scope="module")
def by_command(tmp_path_factory):
    """The workdir of the same recipe, by the command line."""
    folder = tmp_path_factory.mktemp("runs") / "command"
    values = ("--config.train.seeds=1", "--config.train.epochs=1")
    assert main.main(["--config", RECIPE, "--workdir", str(folder), *values]) == 0
    return folder


def results(folder):
    """results.json without what clock and memory say."""
    found = json.loads((folder / "results.json").read_text())
    for key in ("seconds", "seconds_per_epoch", "phase_seconds", "peak_memory"):
        del found[key]
    return found


def predictions(folder):
    with open(folder / "predictions_test.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [row["id"] for row in rows], [float(row["prediction"]) for row in rows]


def test_a_notebook_has_the_figures_of_the_command_line(fitted, by_command):
    found = fitted.evaluate("test")
    expected = results(by_command)
    assert found.splits["test"] == expected["test"]
    assert found["mae"] == expected["test"]["mae"]["mean"]
    assert fitted.evaluate("valid").splits["valid"] == expected["valid"]
    assert results(fitted.folder) == expected
    name = "seed_1/log.jsonl"
    assert (fitted.folder / name).read_bytes() == (by_command / name).read_bytes()
    assert "lf_dnn on demo corpus, seed 1" in str(found)
    assert repr(fitted) == f"Run(folder={fitted.folder!r})"  # what a cell ends with


def test_predictions_are_arrays_with_ids(fitted, by_command):
    corpus = msajax.load_data(dataset="demo")
    ids, scores = predictions(by_command)
    made = fitted.predict(corpus)
    assert [*made.ids[-len(ids) :]] == ids and len(made) == 900
    np.testing.assert_allclose(made.mean[-len(ids) :], scores, atol=1e-6)
    (pred,) = fitted.outputs("test", "pred").values()
    np.testing.assert_allclose(pred, scores, atol=1e-6)
    fusion = fitted.outputs("test", "fusion", corpus)[1]
    assert fusion.shape == (150, 64) and np.isfinite(fusion).all()


def test_a_workdir_of_the_command_line_is_opened(by_command):
    expected = results(by_command)
    assert msajax.evaluate(by_command)["mae"] == expected["test"]["mae"]["mean"]
    run = msajax.open_run(by_command)
    assert run.options.train.seeds == (1,) and run.folder == by_command
    corpus = msajax.load_data(dataset="demo")
    assert run.evaluate("valid", corpus).splits["valid"] == expected["valid"]
    assert len(msajax.predict(by_command, corpus)) == 900


def test_the_command_line_goes_on_in_a_notebooks_workdir(fitted, capsys):
    before = results(fitted.folder)
    args = ["--workdir", str(fitted.folder), "--mode", "evaluate"]
    assert main.main(args) == 0
    assert f"{before['test']['mae']['mean']:.3f}" in capsys.readouterr().out
    args = ["--config", RECIPE, "--workdir", str(fitted.folder)]
    values = ("--config.train.seeds=1", "--config.train.epochs=1")
    assert main.main([*args, *values]) == 0
    assert results(fitted.folder) == before


def test_a_system_of_create_model_is_fitted(fitted):
    corpus = msajax.load_data(dataset="demo")
    model = msajax.create_model(RECIPE, corpus)
    assert dataclasses.asdict(model.spec)["dims"] == (24, 12, 16)
    run = msajax.fit(model, corpus, **SHORT)
    # The recipe changes no option of the training but epochs and seeds.
    assert run.options.model == fitted.options.model | {}
    assert results(run.folder)["test"] == results(fitted.folder)["test"]
    other = msajax.create_model("lf_dnn", corpus, text_out=5)
    assert other.text_out == 5 and other.spec == model.spec  # pyright: ignore
    assert msajax.create_model("tfn", model.spec).spec == model.spec


def own(seed=0, **changes):
    """A corpus of no file: 22 training rows, 8 of each other split."""
    return dataclasses.replace(toys.corpus(seed), sha256="", **changes)


def fit_own(corpus, workdir, **more):
    options = {"train.batch_size": 8}
    more = dict(seeds=(1,), epochs=3, quiet=True) | more
    return msajax.fit(RECIPE, corpus, workdir=workdir, options=options, **more)


@pytest.fixture(scope="module")
def in_memory(tmp_path_factory):
    """A run on a corpus in memory."""
    return fit_own(own(), tmp_path_factory.mktemp("runs") / "own")


def test_a_corpus_in_memory(in_memory, capsys):
    folder = in_memory.folder
    assert {p.name for p in folder.glob("*.csv")} == {
        *("predictions_test.csv", "predictions_valid.csv")
    }
    first, log = results(folder), (folder / "seed_1/log.jsonl").read_bytes()
    found = in_memory.evaluate("test")
    assert found.splits["test"] == first["test"] and len(first["data_sha256"]) == 64
    again = fit_own(own(), folder)  # another object of the same content
    assert again.options == in_memory.options and results(folder) == first
    assert (folder / "seed_1/log.jsonl").read_bytes() == log
    assert msajax.open_run(folder, own()).evaluate("test")["mae"] == found["mae"]
    assert capsys.readouterr().out == ""  # quiet


def test_another_corpus_is_another_run(in_memory):
    message = "holds another run, with other content of the data"
    with pytest.raises(ValueError, match=message):
        fit_own(own(seed=1), in_memory.folder)
    with pytest.raises(ValueError, match="another run, with train.epochs: 3 -> 2"):
        fit_own(own(), in_memory.folder, epochs=2)
    for other in (None, own(seed=1)):
        with pytest.raises(ValueError, match="is not what this run was trained on"):
            msajax.open_run(in_memory.folder, other).evaluate("test")


@pytest.mark.parametrize(
    "change",
    [
        lambda split: dataclasses.replace(split, ids=split.ids[::-1]),
        lambda split: dataclasses.replace(
            split, raw_text=np.char.upper(split.raw_text)
        ),
        lambda split: dataclasses.replace(
            split, arrays=split.arrays | {"label": -split.arrays["label"]}
        ),
    ],
)
def test_every_part_of_a_corpus_tells_it_from_others(change):
    corpus = own()
    test = change(corpus.splits["test"])
    other = dataclasses.replace(corpus, splits=corpus.splits | {"test": test})
    hashes = [identity(x) for x in (corpus, own(), other)]
    assert hashes[0] == hashes[1] != hashes[2]


def identity(corpus, **data):
    return corpora.identified(corpus, DataOptions(**data)).sha256


def negated(corpus):
    """The corpus with other labels, and all else of it, its file's hash too."""
    splits = {
        name: dataclasses.replace(
            split, arrays=split.arrays | {"label": -split.arrays["label"]}
        )
        for name, split in corpus.splits.items()
    }
    return dataclasses.replace(corpus, splits=splits)


def test_a_corpus_has_the_identity_of_its_file_until_it_is_edited():
    read = msajax.load_data(dataset="demo")
    file = demo.generate(0).sha256
    assert identity(read) == identity(copy.deepcopy(read)) == read.sha256 == file
    assert identity(read, modalities=("text",)) == file
    edited = [negated(read), clean.select(read, ("text",))]
    edited.append(dataclasses.replace(read, splits={"test": read.splits["test"]}))
    changed = copy.deepcopy(read)
    changed.splits["train"].arrays["audio"][0, 0, 0] += 1
    hashes = [identity(x) for x in (*edited, changed)]
    assert len({file, *hashes}) == 5
    # What was read with less than the run reads is not what it reads.
    text = msajax.load_data(dataset="demo", modalities="text")
    assert identity(text, modalities=("text",)) == file != identity(text)
    other = msajax.load_data(dataset="demo", encoding="gbk")
    assert identity(other, encoding="gbk") == file != identity(other)


def test_an_edited_corpus_is_another_run(by_command):
    before = (by_command / "results.json").read_bytes()
    read, options = msajax.load_data(dataset="demo"), dict(workdir=by_command, **SHORT)
    assert msajax.fit(RECIPE, read, **options).folder == by_command
    assert (by_command / "results.json").read_bytes() == before
    with pytest.raises(ValueError, match="other content of the data"):
        msajax.fit(RECIPE, negated(read), **options)
    assert (by_command / "results.json").read_bytes() == before
    text = msajax.load_data(dataset="demo", modalities=("text",))
    for other in (negated(read), text):
        with pytest.raises(ValueError, match="is not what this run was trained on"):
            msajax.open_run(by_command, other).evaluate()
    assert msajax.open_run(by_command, read).evaluate()["mae"] > 0


def interrupt(monkeypatch, epoch, call):
    """Calls in which Ctrl-C comes after some epochs, as often as told."""
    told, calls = log.Log.epoch, []

    def stop(*args):
        told(*args)
        calls.append(args)
        for _ in range(call if len(calls) == epoch else 0):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(log.Log, "epoch", stop)
    return calls


def test_an_interrupted_cell_keeps_what_it_has(in_memory, tmp_path, monkeypatch):
    calls, folder = interrupt(monkeypatch, epoch=2, call=1), tmp_path / "part"
    with pytest.raises(KeyboardInterrupt) as error:
        fit_own(own(), folder)
    assert f'call fit again with workdir="{folder}"' in error.value.__notes__[0]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    monkeypatch.undo()
    # The checkpoint of every 30 s was not due: the interrupt made this one.
    saved, _ = msajax.open_run(folder, own()).checkpoints(1).restore(lambda _: {})
    assert saved.place >= (0, 0, 2, 1) and len(calls) == len(saved.history) == 2
    with pytest.raises(ValueError, match="seed 1 .* is not trained to its end"):
        msajax.open_run(folder, own()).evaluate()
    assert results(fit_own(own(), folder).folder) == results(in_memory.folder)


def test_a_second_interrupt_stops_at_once(tmp_path, monkeypatch):
    interrupt(monkeypatch, epoch=1, call=2)
    with pytest.raises(KeyboardInterrupt) as error:
        fit_own(own(), tmp_path / "part")
    assert error.value.__notes__ == [
        "no checkpoint was saved yet: the next call starts from the beginning"
    ]


def test_an_interrupt_after_the_last_step_keeps_the_results(
    in_memory, tmp_path, monkeypatch
):
    interrupt(monkeypatch, epoch=3, call=1)
    with pytest.raises(KeyboardInterrupt):
        fit_own(own(), tmp_path / "whole")
    run = msajax.open_run(tmp_path / "whole", own())
    assert run.evaluate()["mae"] == in_memory.evaluate()["mae"]


ANY: Any = msajax  # calls with arguments of wrong types
WRONG = [
    (lambda: msajax.fit("lf_dn:demo"), 'there is no recipe "lf_dn"; did you mean "lf_dnn"'),
    (lambda: msajax.fit("lf_dnn:dmo"), 'unknown data set "dmo"; did you mean "demo"'),
    (lambda: msajax.fit(RECIPE, options={"train.epoch": 1}), 'unknown key "epoch" in config.train; did you mean "epochs"'),
    (lambda: msajax.fit(RECIPE, options={"trian.epochs": 1}), 'unknown key "trian" in config; did you mean "train"'),
    (lambda: msajax.fit(RECIPE, epochs=-1), "config.train.epochs is -1, but must be above 0"),
    (lambda: msajax.fit(RECIPE, seeds=3), r"seeds is 3; give each of them: seeds=\(1, 2, 3\)"),  # pyright: ignore
    (lambda: msajax.fit(RECIPE, seeds=(1, 1)), "each a different whole number"),
    (lambda: msajax.fit(RECIPE, "a.npz"), "data is 'a.npz'; give a corpus; load_data"),  # pyright: ignore
    (lambda: msajax.fit(RECIPE, own(), options={"data.path": "a.npz"}), "config.data.path is 'a.npz', and a corpus is given"),
    (lambda: msajax.fit("lf_dnn:mosi", own()), "the recipe is for the data set mosi, but the corpus was read as demo"),
    (lambda: msajax.fit(3), r"nothing can be trained from 3; give a recipe"),  # pyright: ignore
    (lambda: msajax.fit(msajax.create_model("tfn", own())), "a system needs data to train on"),
    (lambda: msajax.fit(msajax.create_model("tfn", toys.SPEC), msajax.load_data(dataset="demo")), r"made for data with dims \(3, 4, 5\), but this corpus has \(24, 12, 16\)"),
    (lambda: msajax.create_model("tnf", own()), 'unknown system "tnf"; did you mean "tfn"'),
    (lambda: msajax.create_model("lf_dnn", own(), text_outt=3), 'unknown key "text_outt" in config.model; did you mean "text_out"'),
    (lambda: msajax.load_data(dataset="dmo"), 'unknown dataset "dmo"; did you mean "demo"'),
    (lambda: msajax.load_data(dataset="mosi"), "path is empty; give a file or a prepared store of mosi"),
    (lambda: msajax.load_data("nowhere.npz", dataset="demo"), "nowhere.npz: no such file"),
    (lambda: msajax.load_data(dataset="demo", modalities=("vison",)), 'unknown modality "vison"; did you mean "vision"'),
    (lambda: msajax.open_run("nowhere"), r"nowhere holds no run \(no config.json\); train there first: .*fit\(RECIPE, workdir=\"nowhere\"\)"),
    (lambda: ANY.fit(RECIPE, seeds=None), r"seeds is None; give numbers, \(1, 2, 3\), or \(\)"),
    (lambda: ANY.fit(RECIPE, seeds="ab"), r"config.train.seeds is \('a', 'b'\), but must be"),
    (lambda: ANY.fit(RECIPE, options=3), "options is 3; give a dict"),
    (lambda: ANY.fit(RECIPE, options={3: 4}), "a key of options is 3; give a name"),
    (lambda: ANY.fit(RECIPE, workdir=3), "workdir is 3; give the path of a folder"),
    (lambda: ANY.fit(RECIPE, epochs="3"), "config.train.epochs is '3', but must be a whole number"),
    (lambda: msajax.fit(RECIPE, options={"parallel.devices": 1000}), "asks for 1000 devices, but this machine has"),
    (lambda: ANY.create_model("tfn", None), "data is None; give a corpus of load_data, or its spec"),
    (lambda: ANY.create_model(3, own()), "name is 3; give a recipe, 'mult:mosi', or a system"),
    (lambda: msajax.create_model("tfn:mosi", own()), "the recipe is for the data set mosi, but the corpus was read as demo"),
    (lambda: ANY.load_data(3, dataset="demo"), "path is 3; give the path of a file"),
    (lambda: ANY.load_data(dataset=None), "dataset is None; give one of"),
    (lambda: ANY.load_data(dataset="demo", modalities=None), "modalities is None; give some of text, audio, vision"),
    (lambda: ANY.load_data(dataset="demo", modalities=(3,)), "a modality is 3; give one of text, audio, vision"),
    (lambda: ANY.open_run(None), "workdir is None; give the path of a folder"),
    (lambda: ANY.evaluate(None), "workdir is None; give the path of a folder"),
    (lambda: ANY.list_recipes(3), "pattern is 3; give a text"),
]  # fmt: skip


@pytest.mark.parametrize("call,message", WRONG)
def test_wrong_calls_say_what_is_right(tmp_path, monkeypatch, call, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MSAJAX_DATA", str(tmp_path / "data"))
    with pytest.raises(ValueError, match=message):
        call()
    assert not list(tmp_path.glob("*/config.json"))


def test_wrong_names_of_a_run_say_the_nearest(fitted):
    with pytest.raises(ValueError, match='no split "tset"; did you mean "test"'):
        fitted.evaluate("tset")
    with pytest.raises(
        ValueError, match="the split is 3; name one: test, train, valid"
    ):
        fitted.evaluate(3)
    with pytest.raises(ValueError, match='no split "tset"; did you mean "test"'):
        fitted.outputs("tset", "pred")
    with pytest.raises(ValueError, match='no array "fusoin"; did you mean "fusion"'):
        fitted.outputs("test", "fusoin")
    with pytest.raises(ValueError, match="data is None; name what to predict"):
        fitted.predict(None)
    for method in (fitted.predict, lambda data: fitted.evaluate(data=data)):
        with pytest.raises(ValueError, match="data is .*; give the path of a file"):
            method(fitted)
    with pytest.raises(KeyError, match='no metric \\\\?"mea\\\\?"; did you mean'):
        fitted.evaluate("test")["mea"]
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        _ = msajax.fitt  # pyright: ignore


def test_modalities_of_the_demo_corpus():
    one = msajax.load_data(dataset="demo", modalities="audio").splits["test"].arrays
    two = msajax.load_data(dataset="demo", modalities=["audio", "text"])
    assert "audio" in one and "text" not in one
    assert {"audio", "text"} < {*two.splits["test"].arrays}


def test_a_pretrained_encoder_is_trained_by_a_recipe(tmp_path, monkeypatch):
    small_encoders.bert(tmp_path / "bert", ["a few words"])
    path = tmp_path / "mine.py"
    path.write_text(
        "from msajax.run import recipe\n\n\ndef get_config(argument=''):\n"
        f"    text = dict(encoder={str(tmp_path / 'bert')!r}, max_length=5)\n"
        "    return recipe.make('text_only', dict(text=text))\n"
    )
    # A folder of the name under which a workdir keeps its encoder is none of it here.
    (tmp_path / "encoder").mkdir()
    monkeypatch.chdir(tmp_path)
    model = msajax.create_model(f"{path}:", toys.SPEC)
    assert model.encoder == encoders.read_config(tmp_path / "bert")  # pyright: ignore
    with pytest.raises(ValueError, match="text_only has a pretrained encoder, whose"):
        msajax.fit(model, own())


def test_a_run_without_a_workdir_leaves_nothing(monkeypatch):
    at_exit = []
    monkeypatch.setattr(api.atexit, "register", at_exit.append)
    folder = api._temporary()
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (end,) = at_exit
    end()
    assert not folder.parent.exists()


def test_lists_of_names():
    assert {"tfn", "mult", "text_only"} <= {*msajax.list_systems()}
    assert msajax.list_recipes() == ["demo", *recipe.names()]
    assert RECIPE in msajax.list_recipes("lf_dnn:*")
    assert {x.partition(":")[2] for x in msajax.list_recipes("*:mosi")} == {"mosi"}


def test_names_of_the_package():
    assert {*msajax.__all__} <= {*dir(msajax)}
    for name in msajax.__all__:
        assert getattr(msajax, name) is not None
    assert msajax.metrics.__name__ == "msajax.metrics"
    for name in api.__dict__:
        if inspect.isfunction(getattr(api, name)) and not name.startswith("_"):
            assert (
                getattr(api, name).__module__ != "msajax.api" or name in msajax.__all__
            )


IMPORT = """
import os, signal, sys, time, warnings
def state():
    signals = [signal.getsignal(number) for number in signal.valid_signals()]
    hooks = (sys.excepthook, sys.unraisablehook, sys.displayhook, warnings.showwarning)
    return signals, hooks, [*warnings.filters], dict(os.environ), sys.stdout, sys.stderr
before, began = state(), time.process_time()
import msajax
used = time.process_time() - began
assert used < 0.1, used
for name in ("jax", "numpy", "flax", "pydantic", "rich"):
    assert name not in sys.modules, name
assert state() == before
import msajax.api
assert state()[:2] == before[:2] and state()[3:] == before[3:]
from jax._src import xla_bridge
assert not xla_bridge._backends  # no device was asked for
"""


def test_importing_is_cheap_and_changes_nothing():
    """Not the rest of the door either: but for filters that libraries set for themselves."""
    command = [sys.executable, "-c", IMPORT]
    folder = pathlib.Path(msajax.__file__).parent.parent
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
