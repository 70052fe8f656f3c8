import jax
import jax.numpy as jnp
import numpy as np
import pytest

from msajax.encoders.xlnet import XLNet, XLNetConfig
from tests.encoders.checkpoints import check_dropout

CONFIG = XLNetConfig(vocab_size=30, d_model=12, n_layer=2, n_head=3, d_inner=20)
rng = np.random.default_rng(0)
IDS = rng.integers(6, 30, (3, 6))
MASK = np.arange(6) < np.array([6, 4, 2])[:, None]
SEGMENTS = rng.integers(0, 2, (3, 6))
ENCODER = XLNet(CONFIG)
VARIABLES = jax.tree.map(
    lambda x: x + 0.3 * rng.normal(size=x.shape).astype(np.float32),
    ENCODER.init(jax.random.key(0), IDS, mask=MASK, segments=SEGMENTS, train=False),
)


def apply(ids=IDS, mask=MASK, segments=SEGMENTS, *, encoder=ENCODER, **kwargs):
    kwargs = {"train": False, **kwargs}
    return encoder.apply(VARIABLES, ids, mask=mask, segments=segments, **kwargs)


def left(x):
    """Rows of 6, 4 and 2 real steps, padded in front."""
    return np.stack([np.roll(row, 6 - n) for row, n in zip(x, (6, 4, 2), strict=True)])


def sinusoids(distances, dim):
    frequencies = [10000 ** (-2 * i / dim) for i in range(dim // 2)]
    angles = distances[..., None] * np.array(frequencies)
    return np.concatenate([np.sin(angles), np.cos(angles)], -1)


def test_attention_by_hand():
    """Scores of the first layer from the paper's formula, one pair at a time."""
    hidden, state = ENCODER.apply(
        VARIABLES,
        IDS,
        mask=MASK,
        segments=SEGMENTS,
        train=False,
        mutable=["intermediates"],
    )
    (weights,) = state["intermediates"]["layer"]["0"]["rel_attn"]["attention"]
    p = jax.tree.map(np.asarray, VARIABLES["params"]["layer"]["0"]["rel_attn"])
    x = np.asarray(hidden.hidden[0])
    for b, h in np.ndindex(3, 3):
        for i in range(6):
            scores = np.full(6, -np.inf)
            q = x[b, i] @ p["q"][:, h]
            for j in range(6):
                if not MASK[b, j] and i != j:
                    continue
                k = x[b, j] @ p["k"][:, h]
                r = sinusoids(np.float64(i - j), 12) @ p["r"][:, h]
                s = p["seg_embed"][int(SEGMENTS[b, i] != SEGMENTS[b, j]), h]
                scores[j] = (
                    (q + p["r_w_bias"][h]) @ k
                    + (q + p["r_r_bias"][h]) @ r
                    + (q + p["r_s_bias"][h]) @ s
                ) / 2
            expected = np.exp(scores - scores.max())
            np.testing.assert_allclose(
                weights[b, h, i], expected / expected.sum(), atol=1e-5
            )


def test_left_and_right_padding_agree():
    right, other = apply(), apply(left(IDS), left(MASK), left(SEGMENTS))
    np.testing.assert_allclose(
        np.asarray(other.last)[left(MASK)], np.asarray(right.last)[MASK], atol=1e-5
    )
    np.testing.assert_allclose(other.pooled, right.pooled, atol=1e-5)


def test_pooled_is_the_last_real_token():
    encoded = apply()
    for row, n in enumerate((6, 4, 2)):
        np.testing.assert_array_equal(encoded.pooled[row], encoded.last[row, n - 1])
    assert apply(encoder=XLNet(CONFIG, pooler=False)).pooled is None


def test_longer_padding_does_not_matter():
    wide = [np.pad(x, ((0, 0), (0, 3))) for x in (IDS, MASK, SEGMENTS)]
    np.testing.assert_allclose(
        apply(*wide).last[:, :6][MASK], apply().last[MASK], atol=1e-5
    )


def test_only_equality_of_segments_matters():
    np.testing.assert_array_equal(apply(segments=5 - SEGMENTS).last, apply().last)
    assert np.abs(apply(segments=None).last - apply().last).max() > 0.01
    # One segment everywhere adds the same to all scores of a query.
    zeros = apply(segments=np.zeros_like(IDS)).last
    np.testing.assert_allclose(apply(segments=None).last, zeros, atol=1e-5)


@pytest.mark.parametrize("remat,scan", [(True, False), (False, True)])
def test_scan_and_remat_do_not_change_it(remat, scan):
    shift = rng.normal(size=(3, 6, 12)).astype(np.float32)
    given = dict(inject_after=1, inject=lambda x: x + shift)
    other = apply(encoder=XLNet(CONFIG, remat=remat, scan=scan), **given)
    np.testing.assert_allclose(other.last, apply(**given).last, atol=1e-5)
    assert np.abs(other.last - apply().last).max() > 0.1


def test_bfloat16_stays_near():
    half = apply(encoder=XLNet(CONFIG, dtype=jnp.bfloat16))
    assert half.last.dtype == jnp.bfloat16
    difference = np.abs(half.last.astype(np.float32) - apply().last)
    assert 0 < difference[MASK].mean() < 0.03


def test_training_draws_dropout():
    check_dropout(apply)
