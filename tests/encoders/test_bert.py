import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from msajax.encoders.bert import Bert, BertConfig

CONFIG = BertConfig(
    vocab_size=30,
    hidden_size=12,
    num_hidden_layers=2,
    num_attention_heads=3,
    intermediate_size=20,
    max_position_embeddings=10,
)
rng = np.random.default_rng(0)
IDS = rng.integers(1, 30, (3, 6))
MASK = np.arange(6) < np.array([6, 4, 2])[:, None]
# Hugging Face's Flax BERT, a layer's leaves once.
NAMES = """
embeddings/LayerNorm/bias embeddings/LayerNorm/scale
embeddings/position_embeddings/embedding embeddings/token_type_embeddings/embedding
embeddings/word_embeddings/embedding
encoder/layer/#/attention/output/LayerNorm/bias
encoder/layer/#/attention/output/LayerNorm/scale
encoder/layer/#/attention/output/dense/bias
encoder/layer/#/attention/output/dense/kernel
encoder/layer/#/attention/self/key/bias encoder/layer/#/attention/self/key/kernel
encoder/layer/#/attention/self/query/bias encoder/layer/#/attention/self/query/kernel
encoder/layer/#/attention/self/value/bias encoder/layer/#/attention/self/value/kernel
encoder/layer/#/intermediate/dense/bias encoder/layer/#/intermediate/dense/kernel
encoder/layer/#/output/LayerNorm/bias encoder/layer/#/output/LayerNorm/scale
encoder/layer/#/output/dense/bias encoder/layer/#/output/dense/kernel
pooler/dense/bias pooler/dense/kernel
""".split()


def initial(encoder):
    variables = encoder.init(jax.random.key(0), IDS, mask=MASK, train=False)
    # Larger than BERT's own, so that every term shows.
    return jax.tree.map(
        lambda x: x + 0.3 * rng.normal(size=x.shape).astype(np.float32), variables
    )


VARIABLES = initial(Bert(CONFIG))


def apply(ids=IDS, mask=MASK, *, encoder=None, variables=None, train=False, **kwargs):
    encoder = encoder or Bert(CONFIG)
    return encoder.apply(variables or VARIABLES, ids, mask=mask, train=train, **kwargs)


def test_the_names_are_those_of_flax_bert():
    paths = traverse_util.flatten_dict(VARIABLES["params"], sep="/")
    expected = {name.replace("#", layer) for name in NAMES for layer in "01"}
    assert set(paths) == expected


def test_shapes_of_the_outputs():
    encoded = apply()
    assert [h.shape for h in encoded.hidden] == 3 * [(3, 6, 12)]
    assert encoded.last is encoded.hidden[-1]
    assert encoded.pooled.shape == (3, 12)


def test_padding_does_not_matter():
    short = apply(IDS[:, :4], MASK[:, :4])
    other = np.where(MASK, IDS, 29)
    for row, length in enumerate((4, 4, 2)):
        np.testing.assert_allclose(
            apply(other).last[row, :length],
            apply().last[row, :length],
            atol=1e-5,
        )
        if row:
            np.testing.assert_allclose(
                short.last[row, :length], apply().last[row, :length], atol=1e-5
            )


def test_a_sequence_without_a_token_is_finite():
    encoded = apply(mask=np.zeros_like(MASK))
    assert np.isfinite(encoded.last).all()


def test_injection_reaches_the_layers_behind_it():
    shift = np.zeros((3, 6, 12), np.float32)
    shift[1, 2] = 1
    plain, shifted = apply(), apply(inject_after=1, inject=lambda x: x + shift)
    np.testing.assert_array_equal(shifted.hidden[0], plain.hidden[0])
    np.testing.assert_allclose(shifted.hidden[1], plain.hidden[1] + shift, atol=1e-6)
    changed = np.abs(shifted.last - plain.last).max(axis=(1, 2)) > 1e-3
    assert changed.tolist() == [False, True, False]


def test_no_segments_are_segment_0():
    zeros, ones = (apply(segments=np.full_like(IDS, i)).last for i in (0, 1))
    np.testing.assert_array_equal(apply().last, zeros)
    assert np.abs(ones - zeros).max() > 0.1


def test_roberta_counts_positions_from_its_padding():
    config = dataclasses.replace(CONFIG, padding_position=1)
    encoder = Bert(config)
    table = np.asarray(
        VARIABLES["params"]["embeddings"]["position_embeddings"]["embedding"]
    )
    # Positions 2, 3, ... for real tokens are BERT's 0, 1, ... with the table moved.
    moved = traverse_util.flatten_dict(VARIABLES, sep="/")
    moved["params/embeddings/position_embeddings/embedding"] = np.roll(table, 2, 0)
    moved = traverse_util.unflatten_dict(moved, sep="/")
    ours = apply(encoder=encoder, variables=moved).last
    np.testing.assert_allclose(ours[MASK], apply().last[MASK], atol=1e-5)
    left = apply(IDS[:, ::-1], MASK[:, ::-1], encoder=encoder, variables=moved)
    right = np.take_along_axis(IDS[:, ::-1], np.argsort(~MASK[:, ::-1], 1, "stable"), 1)
    expected = apply(right, encoder=encoder, variables=moved)
    np.testing.assert_allclose(left.last[1, -4:], expected.last[1, :4], atol=1e-5)
    assert config.max_length == 8


def test_bfloat16_stays_near():
    half = apply(encoder=Bert(CONFIG, dtype=jnp.bfloat16))
    assert half.last.dtype == jnp.bfloat16
    difference = np.abs(half.last.astype(np.float32) - apply().last)
    assert 0 < difference[MASK].mean() < 0.02


@pytest.mark.parametrize("scan", [False, True])
def test_training_draws_dropout(scan):
    encoder = Bert(CONFIG, scan=scan)
    rngs = [{"dropout": jax.random.key(i)} for i in (0, 0, 1)]
    a, b, c = (apply(encoder=encoder, train=True, rngs=r).last for r in rngs)
    np.testing.assert_array_equal(a, b)
    assert np.abs(a - c).max() > 0.1


def test_without_a_pooler():
    encoder = Bert(CONFIG, pooler=False)
    params = {k: v for k, v in VARIABLES["params"].items() if k != "pooler"}
    encoded = apply(encoder=encoder, variables={"params": params})
    assert encoded.pooled is None
    assert set(initial(encoder)["params"]) == {"embeddings", "encoder"}


def test_an_id_outside_of_the_vocabulary_is_loud():
    ids = IDS.copy()
    ids[0, 0] = 30
    encoded = apply(ids)
    assert np.isnan(encoded.last[0]).all()
    assert np.isfinite(encoded.last[1:]).all()


def test_more_tokens_than_positions():
    ids = np.ones((1, 11), int)
    with pytest.raises(ValueError, match="11 tokens.* positions for 10"):
        apply(ids, ids > 0)


def test_an_electra_has_narrower_words():
    encoder = Bert(dataclasses.replace(CONFIG, embedding_size=5))
    params = initial(encoder)["params"]
    widths = {
        name: x["embedding"].shape[1]
        for name, x in params["embeddings"].items()
        if "embedding" in x
    }
    assert len(widths) == 3 and set(widths.values()) == {5}
    assert params["embeddings_project"]["kernel"].shape == (5, 12)
    encoded = apply(encoder=encoder, variables={"params": params})
    assert {h.shape for h in encoded.hidden} == {(3, 6, 12)}


def test_heads_are_checked():
    with pytest.raises(ValueError, match="12 attention heads"):
        BertConfig(hidden_size=100)
