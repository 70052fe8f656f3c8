"""Training on real files: CMU-MOSI utterance vectors, ICT-MMMO sequences."""

import json

import h5py
import jax
import numpy as np
import pytest

from msajax import main, models, parallel
from msajax.data import loader, read
from msajax.data.spec import DATASETS
from msajax.train import evaluate, feed, step
from msajax.train.optim import Optimizer
from msajax.train.plan import Phase


@pytest.mark.slow
def test_lf_dnn_learns_mosi(shared, tmp_path):
    args = ["--config", "lf_dnn:poria", "--workdir", str(tmp_path / "run")]
    args += [f"--config.data.path={shared / 'data/mosi/mosi_poria.npz'}"]
    args += ["--config.train.seeds=1", "--config.parallel.devices=1"]
    assert main.main(args) == 0
    result = json.loads((tmp_path / "run" / "results.json").read_text())
    # 0.605 is the majority class, 0.768 logistic regression on text.
    assert result["test"]["acc2_non0"]["mean"] > 0.72
    assert result["test"]["corr"]["mean"] > 0.6


@pytest.fixture(scope="module")
def mmmo(shared, tmp_path_factory):
    """ICT-MMMO as our npz: word-aligned audio and vision, labels 1..5 as [-3, 3]."""
    arrays = {key: [] for key in ("id", "split", "label", "audio", "vision")}
    for split in ("train", "valid", "test"):
        folder = shared / "data" / "mmmo"
        values = {}
        for key, name in (("audio", "audio"), ("vision", "video"), ("label", "y")):
            with h5py.File(folder / f"{name}_{split}.h5") as file:
                values[key] = np.asarray(file["d1"])  # pyright: ignore
        rows = len(values["label"])
        arrays["id"] += [f"{split}_{i}" for i in range(rows)]
        arrays["split"] += [split] * rows
        arrays["label"] += list((values["label"].reshape(rows) - 3) * 1.5)
        arrays["audio"] += list(values["audio"])
        arrays["vision"] += list(values["vision"])
    path = tmp_path_factory.mktemp("mmmo") / "mmmo.npz"
    np.savez(path, **{k: np.asarray(v) for k, v in arrays.items()})
    return path


@pytest.mark.parametrize(
    "system", ["lf_dnn", pytest.param("ef_lstm", marks=pytest.mark.slow)]
)
def test_a_few_steps_on_real_sequences(mmmo, system):
    corpus = read.read(mmmo, dataset="mosi")
    assert {name: len(split) for name, split in corpus.splits.items()} == {
        "train": 220,
        "valid": 40,
        "test": 80,
    }
    spec = loader.make_spec(corpus)
    assert spec.dims == (1, 74, 36) and spec.lengths == (1, 20, 20)
    devices = parallel.find_devices(1)
    splits = {
        name: feed.source(
            loader.parts(loader.pad(split, spec), 2), devices, resident=True
        )
        for name, split in corpus.splits.items()
    }
    phase = Phase(epochs=1, batch_size=20, optimizer=Optimizer(learning_rate=3e-3))
    model = models.get(system)(spec=spec)
    train = splits["train"]
    program = step.Program(model, phase, DATASETS["mosi"], train, cycles=1)
    state = step.init(model, jax.random.key(0))
    state = state._replace(opt_state={"main": program.init(state.params)})
    put = lambda x: parallel.replicate(x, devices)  # noqa: E731
    state = put(jax.tree.map(lambda x: x[None], state))
    key, scale = put(
        (jax.random.key_data(jax.random.key(0))[None], np.ones(1, np.float32))
    )
    losses = []
    for epoch in range(3):
        rows, part = loader.epoch_batches(train.sizes, 20, order=(0, 0, 0, epoch))
        for chunk in train.chunks(loader.Batches(rows[None], part)):
            active = put(np.ones(1, bool))
            state, metrics = program.loop(
                state, *chunk, put(np.int32(epoch)), key, {"lr_scale": scale}, active
            )
        losses.append(float(np.mean(jax.device_get(metrics["loss"][0, : len(part)]))))
    assert np.isfinite(losses).all() and losses[-1] < losses[0]
    forward = evaluate.make_forward(model, predict="__call__")
    variables = step.variables(state)
    (scores,), _ = forward(variables, splits["test"], 20, {"lr_scale": scale})
    assert scores.shape == (80,) and np.isfinite(scores).all() and scores.std() > 0
