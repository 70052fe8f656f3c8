"""Workdirs over several commands: corrected recipes, more seeds, unfinished and changed runs."""

import dataclasses
import json
import shutil
from types import SimpleNamespace

import flax.linen as nn
import numpy as np
import pytest
from rich.console import Console

import msajax
from msajax import main, models, parallel
from msajax.data import demo
from msajax.data.spec import Spec
from msajax.models.base import Model
from msajax.models.text_only import TextOnly
from msajax.run import corpora, inference, placed, recipe, training, workdir
from msajax.run.options import Options, ParallelOptions, TrainOptions
from msajax.run.run import Run
from msajax.train import memory, step
from tests import toys

SHORT = ("--config.train.epochs=1", "--config.parallel.devices=1")


def run(folder, *args, config="lf_dnn:demo"):
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
    """A run of seed 1 on a file, whose report predicts by the pass of its validation."""
    folder = tmp_path_factory.mktemp("runs")
    write_npz(folder / "data.npz")
    path = f"--config.data.path={folder / 'data.npz'}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            inference.Inference, "_compile", lambda *_: pytest.fail("new pass")
        )
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


def test_seeds_are_predicted_as_many_at_once_as_the_pass_takes(trained):
    opened = msajax.open_run(trained)
    source = placed.splits(opened, [opened.pad(opened.corpus().splits["test"])])[0]
    phase, sizes = opened.options.plan[-1], []

    def forward(variables, source, size, progress):
        biases = variables["params"]["post_fusion_1"]["bias"]
        sizes.append((len(biases), size, len(progress["lr_scale"])))
        return np.asarray(biases), None

    def predict(seeds, at_once):
        program = SimpleNamespace(phase=phase, seeds=at_once, forward=forward)
        infer = inference.Inference(opened, program=program)
        return infer({"test": source}, seeds=seeds)["test"]

    one, two, pair = predict([1], 1), predict([2], 1), predict([1, 2, 1], 2)
    filled = predict([2], 2)
    assert [size[0] for size in sizes] == [1, 1, 2, 2, 2]
    assert {size[1] for size in sizes} == {phase.batch_size}
    assert all(size[0] == size[2] for size in sizes)
    assert not np.array_equal(one[1], two[2])
    np.testing.assert_array_equal(pair[1], one[1])
    np.testing.assert_array_equal(pair[2], two[2])
    np.testing.assert_array_equal(filled[2], two[2])


def test_as_many_seeds_at_once_as_what_training_keeps_lets(monkeypatch, tmp_path):
    fields = (*Spec.fields, "text_ids", "text_type")
    spec = Spec((6, 1, 1), (5, 1, 1), 8, fields=fields)
    monkeypatch.setattr(parallel, "on_cpu", lambda devices: False)
    # Parameters, gradients, two moments and activations of three seeds, in half of the memory.
    model = TextOnly(spec, encoder=toys.BERT)
    (phase,) = recipe.load("text_only:mosi").plan
    kept = memory.activations(model, phase, rows=1)
    size = 4 * 4 * sum(x.size for x in step.shapes(model).params.values()) + kept
    monkeypatch.setattr(parallel, "memory", lambda devices: 2 * 3 * size)

    def at_once(**changes):
        changes |= {"train.batch_size": "1"}
        options = recipe.load("text_only:mosi", [*changes.items()])
        model = TextOnly(spec, encoder=toys.BERT, lora=options.lora)
        devices = parallel.find_devices(1)
        return training.seeds_at_once(
            Run(options, tmp_path, spec, model, devices, Console())
        )

    assert at_once() == 3
    assert at_once(**{"train.ema": "0.9"}) == 2
    assert at_once(**{"optimizer.lora_rank": "1"}) == 5
    assert at_once(**{"train.seeds_at_once": "4"}) == 4


def results(folder):
    return json.loads((folder / "results.json").read_text())


@pytest.mark.parametrize(
    "option",
    [
        "train.seeds_at_once=2",
        pytest.param("data.on_device=never", marks=pytest.mark.slow),
        pytest.param("parallel.devices=2", marks=pytest.mark.slow),
    ],
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
    from msajax.data import store, stored

    source = trained.parent / "data.npz"
    folder = store.prepare(source, dataset="demo", name="demo/x", root=tmp_path / "s")
    args = (*SHORT, f"--config.data.path={folder}", "--config.train.seeds=1")
    taken = []
    monkeypatch.setattr(
        stored.StoredSequences,
        "fill",
        lambda *args, fill=stored.StoredSequences.fill: (
            taken.append(args) or fill(*args)
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
    from msajax.run import modes

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
        (("--mode", "evaluate"), "tfn:demo", "holds another run than tfn:demo, with"),
        (("--mode", "evaluate"), "nowhere.py", 'there is no recipe file "nowhere.py"'),
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
        ("parallel.devices=5", "asks for 5 devices, but this machine has 4"),
    ],
)  # fmt: skip
def test_values_that_make_no_sense_take_no_folder(tmp_path, capsys, argument, message):
    assert run(tmp_path / "w", f"--config.{argument}") == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "w" / "config.json").exists()


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
    config = recipe.load("configs/demo.py")
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


def write_rows(path, rows):
    """Some demo rows without labels or splits, in a file of any name."""
    split = demo.generate(0).splits["train"].take(np.arange(rows))
    arrays = {m: split.arrays[m] for m in ("text", "audio", "vision")}
    with open(path, "wb") as file:
        np.savez(file, id=[f"more_{i}" for i in range(rows)], **arrays)


class Quiet(Model, kw_only=True):
    """A system with a loss that reads no labels."""

    def setup(self):
        self.head = nn.Dense(1)

    def __call__(self, batch, *, train):
        return {"pred": self.head(batch["text"].mean(1))[:, 0]}

    def quiet_loss(self, batch, *, train, progress):
        assert not {key for key in batch if key.startswith("label")} or not train
        pred = self(batch, train=train)["pred"]
        return parallel.batch_mean(pred**2, where=batch["valid"]), {}


def test_a_phases_file_named_like_a_split_replaces_none(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MSAJAX_DATA", str(tmp_path / "root"))
    write_rows("test", 40)
    write_rows("valid", 50)
    monkeypatch.setattr(models, "get", lambda name: Quiet)
    phases = [
        dict(name=name, data=name, loss="quiet_loss", epochs=1, batch_size=40)
        for name in ("test", "valid")
    ]
    options = Options(
        system="quiet",
        train=TrainOptions(seeds=(1,), epochs=1),
        phases=(*phases, dict(name="train")),
        parallel=ParallelOptions(devices=1),
    )
    with training.at_work(options, tmp_path / "w") as options:
        made, results = training.train(options, tmp_path / "w")
    assert results is not None
    corpus = demo.generate(0)
    for name in ("valid", "test"):
        assert [*results.predictions[name].ids] == [*corpus.splits[name].ids]
        assert (
            len(results.predictions[name].seeds[1]) == len(corpus.splits[name]) == 150
        )
    assert made.evaluate("test").splits["test"] == results.splits["test"]
    hashes = json.loads((tmp_path / "w" / "spec.json").read_text())["phase_data"]
    assert hashes.keys() == {"phase test", "phase valid"}
    others = corpora.phase_corpora(options, tmp_path / "w", ())
    data = placed.training(made, corpus, others)
    rows = {name: sum(source.sizes) for name, source in data.splits.items()}
    assert rows == {"train": 600, "valid": 150, "test": 150}
    evaluated = {name: len(source.devices) for name, source in data.splits.items()}
    assert evaluated == {"train": 1, "valid": 2, "test": 2}
    assert [len(data.of(phase).devices) for phase in options.plan] == [1, 1, 1]
    assert [sum(data.of(phase).sizes) for phase in options.plan] == [40, 50, 600]
