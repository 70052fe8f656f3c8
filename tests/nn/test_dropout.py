"""Dropout, and the statistics of the hash behind its masks, in standard deviations of fair bits."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from msajax.nn.dropout import Dropout, random_bits

X = np.random.default_rng(0).normal(size=(4, 6, 5)).astype(np.float32)
KEYS = jax.random.split(jax.random.key(0), 64)


@functools.partial(jax.jit, static_argnums=1)
def bits_of(words, shape):
    return random_bits(
        words, jnp.arange(math.prod(shape), dtype="uint32").reshape(shape)
    )


def drop(x, key, rate=0.25):
    return Dropout(rate, deterministic=False).apply({}, x, rngs={"dropout": key})


def words(key):
    return jax.random.bits(key, (2,), jnp.uint32)


def deviations(ones, n, p=0.5):
    """How far counts of n Bernoulli trials lie from their mean, in standard deviations."""
    return (np.asarray(ones, float) - n * p) / np.sqrt(n * p * (1 - p))


def uneven(patterns, cells):
    """p-value of the chi-square test that all `cells` values are equally frequent."""
    counts = np.bincount(np.asarray(patterns).ravel(), minlength=cells)
    return stats.chisquare(counts).pvalue


def each_bit(bits):
    """[..., n] uint32 -> [32, ..., n] of 0 and 1."""
    shifts = np.arange(32, dtype=np.uint32).reshape((32,) + (1,) * np.ndim(bits))
    return (np.asarray(bits)[None] >> shifts) & np.uint32(1)


def test_kept_elements_are_scaled_and_the_others_zero():
    y = np.asarray(drop(X, KEYS[0]))
    kept = y != 0
    assert 0.6 < kept.mean() < 0.9
    np.testing.assert_allclose(y[kept], X[kept] / 0.75, rtol=1e-6)


def test_what_drops_nothing_needs_no_key():
    for dropout in (Dropout(0.0, deterministic=False), Dropout(0.5, True)):
        np.testing.assert_array_equal(dropout.apply({}, X), X)
    np.testing.assert_array_equal(Dropout(0.5).apply({}, X, deterministic=True), X)
    np.testing.assert_array_equal(drop(X, KEYS[0], rate=1.0), np.zeros_like(X))


def test_the_gradient_has_the_same_mask():
    loss, gradient = jax.value_and_grad(lambda x: jnp.vdot(drop(x, KEYS[1]), 2 * X))(X)
    y = np.asarray(drop(X, KEYS[1]))
    np.testing.assert_allclose(gradient, np.where(y != 0, 2 * X / 0.75, 0), rtol=1e-6)
    np.testing.assert_allclose(loss, np.vdot(y, 2 * X), rtol=1e-5)


def test_a_mask_is_a_function_of_its_key():
    batch = jnp.broadcast_to(X[None], (3, *X.shape))
    together = jax.jit(jax.vmap(drop))(batch, KEYS[:3])
    alone = [drop(X, key) for key in KEYS[:3]]
    np.testing.assert_array_equal(together, alone)
    assert np.any(alone[0] != alone[1]) and np.any(alone[1] != alone[2])
    gradients = jax.vmap(jax.grad(lambda x, key: drop(x, key).sum()))(batch, KEYS[:3])
    np.testing.assert_array_equal(gradients != 0, np.stack(alone) != 0)


def test_bfloat16_stays_and_is_scaled_without_bias():
    x = jnp.ones((64, 64), jnp.bfloat16)
    y = drop(x, KEYS[0], rate=0.1)
    assert y.dtype == jnp.bfloat16
    # 1 / 0.9, rounded once; bfloat16's own 0.9 would give 1.117.
    assert float(y.max()) == float(jnp.bfloat16(1 / 0.9))


@pytest.mark.parametrize("rate", [0.001, 0.1, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("shape", [(1,), (7,), (3, 5, 7), (33, 1000)])
def test_keep_rate(rate, shape):
    masks = np.asarray(jax.vmap(lambda k: drop(jnp.ones(shape), k, rate))(KEYS)) != 0
    size = masks[0].size
    assert abs(deviations(masks.sum(), masks.size, 1 - rate)) < 4
    if size >= 1000:  # each key by itself, and the spread over the keys
        z = deviations(masks.reshape(64, -1).sum(1), size, 1 - rate)
        assert np.abs(z).max() < 4.5
        assert 1e-3 < stats.chi2.cdf(np.sum(z**2), 64) < 1 - 1e-3


def test_all_32_bits_are_fair_and_independent_of_each_other():
    bits = each_bit(bits_of(words(KEYS[2]), (1 << 17,))).astype(np.int64)
    n = bits.shape[1]
    assert np.abs(deviations(bits.sum(1), n)).max() < 4.5
    agree = (2 * bits - 1) @ (2 * bits - 1).T / np.sqrt(n)
    assert np.abs(agree[~np.eye(32, dtype=bool)]).max() < 5


@pytest.mark.parametrize("lag", [1, 2, 3, 5, 8, 32, 50, 64, 768, 1024, 4096, 1 << 15])
def test_neighbours_and_rows_are_independent(lag):
    flat = np.asarray(bits_of(words(KEYS[3]), (1 << 17,)))
    n = len(flat) - lag
    differ = each_bit(flat[lag:] ^ flat[:-lag])
    assert np.abs(deviations(differ.sum(1), n)).max() < 4.5
    # As masks of several rates: both kept as often as by chance
    for keep in (0.1, 0.5, 0.75, 0.9):
        kept = flat < np.uint32(keep * 2**32)
        both = np.sum(kept[lag:] & kept[:-lag])
        assert abs(deviations(both, n, keep**2)) < 4.5


@pytest.mark.parametrize("place", [0, 12, 24, 31], ids="bit {}".format)
def test_patterns_of_neighbouring_bits_are_equally_frequent(place):
    bits = np.asarray(bits_of(words(KEYS[4]), (1 << 16, 8))) >> np.uint32(place) & 1
    patterns = bits @ (1 << np.arange(8, dtype=np.uint32))
    assert 1e-3 < uneven(patterns, 256) < 1 - 1e-3


@pytest.mark.parametrize("shift", [0, 8, 16, 24])
def test_bytes_are_equally_frequent(shift):
    flat = np.asarray(bits_of(words(KEYS[5]), (1 << 18,)))
    assert 1e-3 < uneven((flat >> np.uint32(shift)) & 255, 256) < 1 - 1e-3


def test_words_that_differ_by_one_bit_give_unrelated_masks():
    base = words(KEYS[6])
    n = 1 << 13
    first = np.asarray(bits_of(base, (n,)))
    flips = np.concatenate(
        [np.eye(2, dtype=np.uint32) << np.uint32(i) for i in range(32)]
    )
    others = jax.vmap(lambda flip: bits_of(base ^ flip, (n,)))(flips)
    differ = each_bit(np.asarray(others) ^ first[None]).sum(-1)  # [32, 64]
    z = deviations(differ, n)
    assert np.abs(z).max() < 5
    assert 1e-3 < stats.chi2.cdf(np.sum(z**2), z.size) < 1 - 1e-3


def test_consecutive_keys_give_unrelated_masks():
    keys = jax.vmap(lambda i: jax.random.fold_in(KEYS[7], i))(np.arange(65))
    n = 1 << 13
    bits = np.asarray(jax.vmap(lambda k: bits_of(words(k), (n,)))(keys))
    differ = each_bit(bits[1:] ^ bits[:-1]).sum(-1)
    z = deviations(differ, n)
    assert np.abs(z).max() < 5
    assert 1e-3 < stats.chi2.cdf(np.sum(z**2), z.size) < 1 - 1e-3
    # One element over the keys, as a weight's activation over the training steps
    kept = (bits < np.uint32(2**31)).sum(0)
    assert np.abs(deviations(kept, 65)).max() < 5
