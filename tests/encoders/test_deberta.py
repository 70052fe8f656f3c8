import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from msajax.encoders.deberta import Deberta, DebertaConfig, signed_buckets
from tests.encoders.checkpoints import SIZES, check_dropout, larger

CONFIG = DebertaConfig(
    **SIZES,
    type_vocab_size=2,
    position_buckets=6,
    share_att_key=False,
    position_biased_input=True,
    conv_kernel_size=3,
)
rng = np.random.default_rng(0)
IDS = rng.integers(1, 30, (3, 6))
MASK = np.arange(6) < np.array([6, 4, 2])[:, None]
ENCODER = Deberta(CONFIG)
VARIABLES = larger(ENCODER, IDS, MASK)


def apply(ids=IDS, mask=MASK, *, encoder=ENCODER, **kwargs):
    kwargs = {"train": False, **kwargs}
    return encoder.apply(VARIABLES, ids, mask=mask, **kwargs)


PLAIN = apply()


def test_attention_by_hand():
    """Scores of the first layer from the paper's formula, one pair at a time."""
    encoded, state = apply(mutable=["intermediates"])
    names = state["intermediates"]["encoder"]["layer"]["0"]["attention"]["self"]
    (weights,) = names["attention"]
    encoder = jax.tree.map(np.asarray, VARIABLES["params"]["encoder"])
    norm, table = encoder["LayerNorm"], encoder["rel_embeddings"]["embedding"]
    table = table - table.mean(1, keepdims=True)
    table /= np.sqrt((table**2).mean(1, keepdims=True) + 1e-7)
    table = table * norm["scale"] + norm["bias"]
    layers = encoder["layer"]["0"]["attention"]["self"]

    def heads(x, name):
        y = x @ layers[name]["kernel"] + layers[name]["bias"]
        return y.reshape(*y.shape[:-1], 3, 4)

    x = np.asarray(encoded.hidden[0])
    q, k = heads(x, "query_proj"), heads(x, "key_proj")
    r_k, r_q = heads(table, "pos_key_proj"), heads(table, "pos_query_proj")
    # With 6 buckets, distances from 4 on share rows; 11 is the farthest of 12 positions.
    row = {d: 6 + signed_buckets(np.array(d), 6, 12).item() for d in range(-5, 6)}
    assert [*row.values()] == [2, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10]
    for b, h, i in np.ndindex(3, 3, 6):
        scores = np.full(6, 0.0 if not MASK[b, i] else -np.inf)
        for j in np.flatnonzero(MASK[b] & MASK[b, i]):
            d = row[i - j]
            total = q[b, i, h] @ k[b, j, h] + q[b, i, h] @ r_k[d, h]
            scores[j] = (total + k[b, j, h] @ r_q[d, h]) / np.sqrt(3 * 4)
        expected = np.exp(scores - scores.max())
        np.testing.assert_allclose(
            weights[b, h, i], expected / expected.sum(), atol=1e-5
        )


def test_buckets_of_distances():
    found = signed_buckets(np.arange(-9, 10), 6, 12)
    behind = [1, 2, 3, 4, 4, 5, 5, 5, 5]
    assert found.tolist() == [*(-b for b in behind[::-1]), 0, *behind]
    # Beyond the farthest position the last row of the table serves.
    rows = dataclasses.replace(CONFIG, position_buckets=0).rows(np.array([-99, 0, 99]))
    assert rows.tolist() == [0, 12, 23]
    assert CONFIG.rows(np.array([-99, 0, 99])).tolist() == [0, 6, 11]


def test_longer_padding_does_not_matter():
    wide = [np.pad(x, ((0, 0), (0, 3))) for x in (IDS, MASK)]
    np.testing.assert_allclose(
        apply(*wide).last[:, :6][MASK], PLAIN.last[MASK], atol=1e-5
    )
    other = apply(np.where(MASK, IDS, 29))
    np.testing.assert_allclose(other.last[MASK], PLAIN.last[MASK], atol=1e-5)
    assert np.abs(other.hidden[0][~MASK]).max() == 0
    assert np.isfinite(apply(mask=np.zeros_like(MASK)).last).all()


def test_what_is_injected_into_padding_does_not_matter():
    def inject(x):
        return x + 1

    def inject_into_words(x):
        return x + MASK[..., None]

    plain = apply(inject_after=0, inject=inject_into_words).last
    other = apply(inject_after=0, inject=inject).last
    np.testing.assert_allclose(other[MASK], plain[MASK], atol=1e-5)


@pytest.mark.parametrize(
    "remat,scan", [pytest.param(True, False, marks=pytest.mark.slow), (False, True)]
)
def test_scan_and_remat_do_not_change_it(remat, scan):
    shift = rng.normal(size=(3, 6, 12)).astype(np.float32)
    given = dict(inject_after=1, inject=lambda x: x + shift)
    plain = apply(**given)
    other = apply(encoder=Deberta(CONFIG, remat=remat, scan=scan), **given)
    np.testing.assert_allclose(other.last, plain.last, atol=1e-5)
    # What is injected is added to the first layer's output with the convolution in it.
    np.testing.assert_allclose(plain.hidden[1], PLAIN.hidden[1] + shift, atol=1e-5)
    assert np.abs(other.last - PLAIN.last).max() > 0.1


def test_bfloat16_stays_near():
    half = apply(encoder=Deberta(CONFIG, dtype=jnp.bfloat16))
    assert half.last.dtype == half.pooled.dtype == jnp.bfloat16
    difference = np.abs(half.last.astype(np.float32) - PLAIN.last)
    assert 0 < difference[MASK].mean() < 0.03


def test_training_draws_dropout():
    check_dropout(apply)


def test_a_sequence_longer_than_the_positions_needs_distances_alone():
    ids = np.ones((1, 13), int)

    def shape(config):
        init = Deberta(config).init_with_output
        given = dict(mask=ids > 0, train=False)
        encoded, _ = jax.eval_shape(lambda k: init(k, ids, **given), jax.random.key(0))
        return encoded.last.shape

    with pytest.raises(ValueError, match="13 tokens, but .* positions for 12"):
        shape(CONFIG)
    assert shape(dataclasses.replace(CONFIG, position_biased_input=False)) == (
        1,
        13,
        12,
    )


def test_buckets_that_nothing_reads_are_not_checked():
    with pytest.raises(ValueError, match="position_buckets is 99, but from 2 on"):
        dataclasses.replace(CONFIG, position_buckets=99)
    for plain in (dict(relative_attention=False), dict(pos_att_type=())):
        dataclasses.replace(CONFIG, position_buckets=99, **plain)
