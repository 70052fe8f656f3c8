"""Mixup: who is mixed with whom, and how much."""

import jax
import numpy as np
import pytest

from msajax import parallel
from msajax.nn import mixup
from msajax.nn.mixup import Mixup

rng = np.random.default_rng(0)
X = rng.normal(size=(8, 3, 2)).astype(np.float32)
MASK = np.arange(3)[None] < np.array([3, 2, 1, 3, 0, 2, 3, 1])[:, None]
VALID = np.array([1, 1, 0, 1, 1, 1, 0, 1]) > 0


def test_partners_are_a_permutation_of_the_rows_that_count():
    seen = []
    for seed in range(30):
        share, partner = mixup.draw(jax.random.key(seed), VALID)
        assert 0 <= share <= 1
        assert sorted(partner[VALID]) == np.flatnonzero(VALID).tolist()
        np.testing.assert_array_equal(partner[~VALID], np.flatnonzero(~VALID))
        seen.append((float(share), *partner.tolist()))
    assert len(set(seen)) == 30
    # Every valid row meets every valid row.
    pairs = {(i, row[1 + i]) for row in seen for i in np.flatnonzero(VALID)}
    assert len(pairs) == VALID.sum() ** 2
    nobody = mixup.draw(jax.random.key(0), VALID & False)
    np.testing.assert_array_equal(nobody.partner, np.arange(8))


@pytest.mark.parametrize("alpha", [1.0, 0.2, 8.0])
def test_the_share_is_beta(alpha):
    keys = jax.random.split(jax.random.key(0), 2000)
    draw = jax.jit(jax.vmap(lambda key: mixup.draw(key, VALID, alpha=alpha).share))
    shares = np.asarray(draw(keys))
    np.testing.assert_allclose(shares.mean(), 0.5, atol=0.03)
    mean_square = (alpha + 1) / (4 * alpha + 2)
    np.testing.assert_allclose((shares**2).mean(), mean_square, atol=0.03)


def mixed_by_hand(share, partner):
    clean = np.where(MASK[..., None], X, 0)
    return share * clean + (1 - share) * clean[partner], MASK | MASK[partner]


def test_sequences_are_mixed_as_long_as_the_longer():
    partner = np.array([1, 0, 2, 4, 3, 7, 6, 5])
    mix = Mixup(np.float32(0.3), partner)
    x, mask = mix.sequences(X, MASK)
    wanted_x, wanted_mask = mixed_by_hand(0.3, partner)
    np.testing.assert_allclose(x, wanted_x, atol=1e-6)
    np.testing.assert_array_equal(mask, wanted_mask)
    # What lies on padding does not count.
    noise, _ = mix.sequences(np.where(MASK[..., None], X, 9.0), MASK)
    np.testing.assert_array_equal(noise, x)
    label = np.arange(8, dtype=np.float32)
    mixed = mix.blend(label, mix.partners(label))
    np.testing.assert_allclose(mixed, 0.3 * label + 0.7 * partner, rtol=1e-6)


def test_a_whole_share_is_the_clean_row():
    mix = mixup.draw(jax.random.key(1), VALID)._replace(share=np.float32(1))
    x, mask = mix.sequences(X, MASK)
    np.testing.assert_array_equal(x, np.where(MASK[..., None], X, 0))
    np.testing.assert_array_equal(mask, MASK)
    _, mask = mix._replace(share=np.float32(0)).sequences(X, MASK)
    np.testing.assert_array_equal(mask, MASK[mix.partner])


def test_four_devices_draw_and_mix_as_one():
    def run(x, mask, valid):
        mix = mixup.draw(jax.random.key(5), valid)
        return mix.partner, *mix.sequences(x, mask)

    alone = jax.jit(run)(X, MASK, VALID)
    devices = parallel.find_devices(4)
    dealt = parallel.put_shards(
        [x.reshape(4, 2, *x.shape[1:]) for x in (X, MASK, VALID)], devices
    )
    many = parallel.compile(run, devices, in_axes=(0, 0, 0), out_axes=0)(*dealt)
    for one, other in zip(alone, many, strict=True):
        np.testing.assert_array_equal(np.reshape(other, one.shape), one)
