"""Real weights on real transcripts, and small random ones, beside the networks of transformers."""

import csv

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from msajax import encoders
from tests.encoders import checkpoints

torch = pytest.importorskip("torch", reason="torch is not installed: pip install torch")


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
    encoder = encoders.read_config(minilm).encoder(dtype=dtype)
    params = encoder.init(jax.random.key(0), ids[:1], mask=mask[:1], train=False)
    params, _ = encoders.load(minilm, encoder, params["params"])
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


@pytest.mark.parametrize(
    "kind", ["bert", "deberta-v2", "electra", "roberta", "xlm-roberta", "xlnet"]
)
def test_every_architecture_is_that_of_pytorch(kind, tmp_path):
    from transformers import AutoModel

    changes = {"pad_token_id": 1} if "roberta" in kind else {}
    made = checkpoints.Checkpoint(kind, **changes)
    checkpoints.write(tmp_path, made.facts, state=made.state)
    ids = np.random.default_rng(1).integers(5, 30, (3, 7)).astype(np.int32)
    mask = np.arange(7) < np.array([[7], [4], [1]])
    ids = np.where(mask, ids, changes.get("pad_token_id", 0))
    with torch.no_grad():
        # The type by config.json, as a user would load it.
        encoded = AutoModel.from_pretrained(tmp_path).eval()(
            torch.from_numpy(ids.astype(np.int64)),
            attention_mask=torch.from_numpy(mask.astype(np.int64)),
        )
    config = encoders.read_config(tmp_path)
    encoder = config.encoder()
    params, report = encoders.load(tmp_path, encoder, made.params)
    assert not report.missing and not report.unused
    found = encoder.apply({"params": params}, ids, mask=mask, train=False).last
    expected = encoded.last_hidden_state.numpy()
    np.testing.assert_allclose(found[mask], expected[mask], rtol=0, atol=2e-5)
    assert np.abs(expected).max() > 0.5
