"""Training on real files: CMU-MOSI utterance vectors, ICT-MMMO sequences."""

import json

import h5py
import jax
import numpy as np
import pytest

from msajax import evaluate, main, models, parallel, train
from msajax.book import Phase
from msajax.data import loader, read
from msajax.data.spec import DATASETS
from msajax.optim import Optimizer


def test_lf_dnn_learns_mosi(shared, tmp_path):
    args = ["--config", "configs/poria.py:lf_dnn", "--workdir", str(tmp_path / "run")]
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


@pytest.mark.parametrize("system", ["lf_dnn", "ef_lstm"])
def test_a_few_steps_on_real_sequences(mmmo, system):
    corpus = read.read(mmmo, dataset="mosi")
    assert {name: len(split) for name, split in corpus.splits.items()} == {
        "train": 220,
        "valid": 40,
        "test": 80,
    }
    spec = loader.make_spec(corpus)
    assert spec.dims == (1, 74, 36) and spec.lengths == (1, 20, 20)
    devices = parallel.local_devices(1)
    arrays = {k: loader.pad(v, spec) for k, v in corpus.splits.items()}
    labels = {k: v["label"] for k, v in arrays.items()}
    data = train.Data(DATASETS["mosi"], parallel.replicate(arrays, devices), labels)
    phase = Phase(epochs=1, batch_size=20, optimizer=Optimizer(learning_rate=3e-3))
    model = models.get(system)(spec=spec)
    program = train.Program(model, phase, data, cycles=1, devices=devices)
    state = train.init(model, jax.random.key(0))
    state = state._replace(opt_state={"main": program.init(state.params)})
    losses = []
    for epoch in range(3):
        rows = loader.epoch_rows(220, 20, order=(0, 0, 0, epoch))
        put = lambda *x: parallel.replicate(x, devices)  # noqa: E731
        state, metrics = program.loop(
            *put(state, data.splits["train"]),
            parallel.shard_rows(rows, devices),
            *put(np.int32(0), np.int32(11)),
            *put(jax.random.key(0), np.int32(epoch), np.float32(1)),
        )
        losses.append(float(np.mean(jax.device_get(metrics["loss"]))))
    assert np.isfinite(losses).all() and losses[-1] < losses[0]
    pred = evaluate.make_forward(model, devices, predict="__call__")
    rows = loader.ordered_rows(80, 20)
    scores, _ = pred(train.variables(state), data.splits["test"], rows, {})
    assert scores.shape == (80,) and np.isfinite(scores).all() and scores.std() > 0
