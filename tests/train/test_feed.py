"""Batches on their way to the devices: resident or streamed, whole or in parts, the same rows."""

import jax
import numpy as np
import pytest

from msajax import parallel
from msajax.data import loader
from msajax.train import evaluate, feed, fit, step
from tests import toys


def source(*, resident, devices=1, buckets=1):
    arrays = loader.pad(toys.corpus().splits["train"], toys.SPEC)
    parts = loader.parts(arrays, buckets)
    return feed.source(parts, parallel.find_devices(devices), resident=resident)


def seen(source, batches, start=0):
    """{field: [..., rows]} of the valid rows in the order of the batches, read on the host."""
    found = []
    for chunk in source.chunks(batches, start):
        first, count = map(int, chunk.ends)
        rows = np.asarray(chunk.rows)
        for i in range(count):
            part = int(chunk.part[i])
            data = {k: np.asarray(v) for k, v in chunk.data[part].items()}
            for device, share in enumerate(rows[:, i]):
                mine = (
                    data if source.resident else {k: v[device] for k, v in data.items()}
                )
                batch = feed.take(mine, share)
                valid = np.asarray(batch["valid"])
                found.append((first + i, np.asarray(batch["index"])[valid], batch))
    return found


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("resident", [True, False])
def test_every_row_comes_once_and_whole(resident, devices, monkeypatch):
    monkeypatch.setattr(feed, "_STEPS", 2)
    feeding = source(resident=resident, devices=devices)
    batches = loader.epoch_batches([22], 4, order=(0, 0, 0, 0))
    found = seen(feeding, batches)
    index = np.concatenate([rows for _, rows, _ in found])
    np.testing.assert_array_equal(index, batches.rows[batches.rows >= 0])
    arrays = toys.corpus().splits["train"].arrays
    for _, rows, batch in found:
        text = np.asarray(batch["text"])[np.asarray(batch["valid"])]
        np.testing.assert_array_equal(text, arrays["text"][rows])


def test_filler_rows_repeat_the_first_row():
    batches = loader.epoch_batches([22], 4, order=(0, 0, 0, 0))
    for resident in (True, False):
        *_, (_, rows, last) = seen(source(resident=resident), batches)
        assert len(rows) == 2
        np.testing.assert_array_equal(np.asarray(last["index"])[2:], [0, 0])


@pytest.mark.parametrize("start", [1, 3, 6])
def test_chunks_start_in_mid_epoch(start, monkeypatch):
    monkeypatch.setattr(feed, "_STEPS", 2)
    batches = loader.epoch_batches([22], 4, order=(0, 0, 0, 0))
    found = seen(source(resident=True), batches, start)
    assert [number for number, _, _ in found] == list(range(start, 6))


def test_a_streamed_chunk_is_small(monkeypatch):
    monkeypatch.setattr(feed, "_BYTES", 1)
    batches = loader.epoch_batches([22], 4, order=(0, 0, 0, 0))
    chunks = list(source(resident=False).chunks(batches))
    assert [chunk.rows.shape for chunk in chunks] == [(1, 1, 4)] * 6
    assert chunks[0].data[0]["text"].shape[:2] == (1, 4)


def test_streaming_has_no_buckets():
    with pytest.raises(ValueError, match="config.data.buckets is 2, but the data is"):
        source(resident=False, buckets=2)


@pytest.mark.parametrize(
    "options", [{"resident": False}, {"buckets": 3}, {"devices": 2}]
)
def test_predictions_come_in_the_order_of_the_split(options):
    def predictions(**options):
        feeding = source(**{"resident": True, **options})
        model = toys.Toy(spec=toys.SPEC)
        state = fit.stack([step.init(model, jax.random.key(0))])
        forward = evaluate.make_forward(model, predict="__call__", loss="loss")
        progress = {"epoch": 0, "step": 0, "fraction": 0.0, "lr_scale": np.ones(1)}
        return forward(step.variables(state), feeding, 4, progress)

    pred, losses = predictions()
    again, same_losses = predictions(**options)
    assert pred.shape == (1, 22) and pred.std() > 0
    np.testing.assert_allclose(again, pred, atol=1e-6)
    np.testing.assert_allclose(same_losses, losses, atol=1e-6)
