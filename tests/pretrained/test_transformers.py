"""Real weights on real transcripts, beside the networks of transformers."""

import csv

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from msajax import pretrained

torch = pytest.importorskip("torch", reason="needs torch, which no extra installs")


@pytest.fixture(scope="module")
def transcripts(minilm, shared):
    """Word pieces of 100 test transcripts of CMU-MOSI: ids and mask, [100, 50]."""
    from transformers import AutoTokenizer

    with open(shared / "data/mosi/MOSI-label.csv") as file:
        rows = [row["text"] for row in csv.DictReader(file) if row["mode"] == "test"]
    pieces = AutoTokenizer.from_pretrained(minilm)(
        rows[:100],
        padding="max_length",
        truncation=True,
        max_length=50,
        return_tensors="np",
    )
    return pieces["input_ids"].astype(np.int32), pieces["attention_mask"] > 0


def last_hidden(minilm, transcripts, dtype):
    ids, mask = transcripts
    encoder = pretrained.read_config(minilm).encoder(dtype=dtype)
    params = encoder.init(jax.random.key(0), ids[:1], mask=mask[:1], train=False)
    params, _ = pretrained.load(minilm, encoder, params["params"])
    encoded = jax.jit(
        lambda p: encoder.apply({"params": p}, ids, mask=mask, train=False)
    )(params)
    return np.asarray(encoded.last, np.float32)[mask]


@pytest.fixture(scope="module")
def expected(minilm, transcripts):
    from transformers import BertModel

    ids, mask = (torch.from_numpy(x.astype(np.int64)) for x in transcripts)
    with torch.no_grad():
        encoded = BertModel.from_pretrained(minilm).eval()(ids, attention_mask=mask)
    return encoded.last_hidden_state.numpy()[transcripts[1]]


def test_float32_is_that_of_pytorch(minilm, transcripts, expected):
    found = last_hidden(minilm, transcripts, jnp.float32)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)


def test_float32_is_that_of_flax(minilm, transcripts):
    transformers = pytest.importorskip("transformers")
    if not hasattr(transformers, "FlaxBertModel"):
        pytest.skip(f"transformers {transformers.__version__} has no Flax models")
    ids, mask = transcripts
    model = transformers.FlaxBertModel.from_pretrained(minilm)
    encoded = model(ids, attention_mask=mask.astype(np.int32)).last_hidden_state
    found = last_hidden(minilm, transcripts, jnp.float32)
    np.testing.assert_allclose(found, encoded[mask], rtol=0, atol=2e-5)


def test_bfloat16_is_close(minilm, transcripts, expected):
    found = last_hidden(minilm, transcripts, jnp.bfloat16)
    error = np.abs(found - expected)
    assert error.max() < 4e-2 and error.mean() < 3e-3
    assert np.abs(expected).max() > 2
