"""Losses against hand numbers and scipy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from msajax import losses

rng = np.random.default_rng(0)


def test_tokens_that_do_not_count():
    logits = rng.normal(0, 2, (2, 3, 5)).astype(np.float32)
    labels = np.array([[4, 0, -100], [-100, 1, -1]])
    found = losses.token_cross_entropy(logits, labels)
    logs = scipy.special.log_softmax(logits.astype(np.float64), axis=-1)
    wanted = [[-logs[0, 0, 4], -logs[0, 1, 0], 0], [0, -logs[1, 1, 1], 0]]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_softmax_kl():
    p, q = rng.normal(0, 2, (2, 5, 7)).astype(np.float32)
    softmaxes = (scipy.special.softmax(x.astype(np.float64), axis=1) for x in (p, q))
    wanted = scipy.special.rel_entr(*softmaxes).sum(axis=1)
    np.testing.assert_allclose(losses.softmax_kl(p, q), wanted, rtol=1e-5)
    np.testing.assert_allclose(losses.softmax_kl(p, p + 3), np.zeros(5), atol=1e-6)
    assert np.abs(losses.softmax_kl(q, p) - wanted).min() > 1e-3


@pytest.mark.parametrize("rows", [2, 5])
def test_info_nce_of_orthonormal_vectors(rows):
    x = 3 * np.eye(rows, 6, dtype=np.float32)  # lengths do not matter
    found = losses.info_nce(x, 2 * x, 2 * x, where=np.ones(rows, bool))
    wanted = -1 + np.log(np.e + rows - 1)
    np.testing.assert_allclose(found, np.full(rows, wanted), rtol=1e-6)


def test_info_nce_leaves_out_candidates_that_do_not_count():
    x, y = rng.normal(size=(2, 4, 3)).astype(np.float32)
    where = np.arange(4) < 3
    found = losses.info_nce(x, y, y, where=where)[:3]
    every = np.ones(3, bool)
    few = losses.info_nce(x[:3], y[:3], y[:3], where=every)
    np.testing.assert_allclose(found, few, rtol=1e-6)


def test_info_nce_without_candidates_has_finite_gradients():
    x, y = rng.normal(size=(2, 2, 3)).astype(np.float32)

    def loss(x):
        values = losses.info_nce(x, y, y, where=np.zeros(2, bool))
        return jnp.sum(jnp.where(np.zeros(2, bool), values, 0))

    np.testing.assert_array_equal(jax.grad(loss)(x), np.zeros_like(x))


def test_info_nce_of_zero_vectors_has_finite_gradients():
    y, where = rng.normal(size=(2, 3)).astype(np.float32), np.ones(2, bool)

    def loss(x):
        return jnp.sum(losses.info_nce(x, y, y, where=where))

    assert np.isfinite(jax.grad(loss)(jnp.zeros((2, 3)))).all()


def test_huber_by_hand():
    x = jnp.array([0.0, 0.5, -1.0, 2.0, -4.0])
    np.testing.assert_allclose(losses.huber(x, delta=2.0), [0, 0.125, 0.5, 2, 6])
    np.testing.assert_allclose(losses.huber(x, delta=1.0), [0, 0.125, 0.5, 1.5, 3.5])


def test_smooth_l1_by_hand():
    pred = jnp.array([1.0, 1.5, -1.0, 4.0], jnp.bfloat16)
    found = losses.smooth_l1(pred, jnp.array([1.0, 1.0, 1.0, 1.0]))
    np.testing.assert_allclose(found, [0, 0.125, 1.5, 2.5])
    assert found.dtype == jnp.float32


def test_huber_and_its_slope_are_continuous_at_delta():
    def value(x):
        return losses.huber(x, delta=0.7)

    for x in (0.7, -0.7):
        below, above = x * (1 - 1e-4), x * (1 + 1e-4)
        np.testing.assert_allclose(value(jnp.array(below)), 0.245, rtol=1e-3)
        np.testing.assert_allclose(value(jnp.array(above)), 0.245, rtol=1e-3)
        for side in (below, above):
            np.testing.assert_allclose(jax.grad(value)(side), x, rtol=1e-3)
    assert jax.grad(value)(5.0) == jax.grad(value)(50.0)


def test_huber_is_float32():
    assert losses.huber(jnp.ones(2, jnp.bfloat16), delta=1.0).dtype == jnp.float32


SHARES = rng.uniform(size=(2, 6, 3)).astype(np.float32)
COUNTED = np.array([1, 1, 0, 1, 1, 0], bool)


def test_cmd_is_the_distance_of_moments():
    x, y = (v[COUNTED].astype(np.float64) for v in SHARES)
    wanted = np.linalg.norm(x.mean(0) - y.mean(0))
    for k in (2, 3, 4, 5):
        gap = ((x - x.mean(0)) ** k).mean(0) - ((y - y.mean(0)) ** k).mean(0)
        wanted += np.linalg.norm(gap)
    np.testing.assert_allclose(losses.cmd(*SHARES, where=COUNTED), wanted, rtol=1e-5)
    # Two points a distance of 2 from each other, about the same mean
    x, y = np.float32([[0], [2]]), np.float32([[1], [1]])
    found = losses.cmd(x, y, where=np.ones(2, bool), moments=4)
    np.testing.assert_allclose(found, 0 + 1 + 0 + 1, rtol=1e-6)


def test_orthogonality_is_of_centred_unit_rows():
    units = []
    for v in SHARES:
        v = v[COUNTED].astype(np.float64)
        v = v - v.mean(0)
        units.append(v / np.linalg.norm(v, axis=1, keepdims=True))
    wanted = ((units[0].T @ units[1]) ** 2).mean()
    found = losses.orthogonality(*SHARES, where=COUNTED)
    np.testing.assert_allclose(found, wanted, rtol=1e-4)


@pytest.mark.parametrize("loss", [losses.cmd, losses.orthogonality])
@pytest.mark.parametrize("count", [0, 1, 6])
def test_equal_or_no_samples_have_finite_gradients(loss, count):
    where = np.arange(6) < count
    value, grads = jax.value_and_grad(loss, (0, 1))(*SHARES[[0, 0]], where=where)
    assert np.isfinite(value) and all(np.isfinite(grad).all() for grad in grads)
    if loss is losses.cmd or count < 2:
        assert value == 0


def test_no_gradient_through_the_lengths_of_orthogonality():
    x, y = SHARES
    grad = jax.grad(losses.orthogonality)(x, y, where=np.ones(6, bool))
    # With one, lengthening a sample would change nothing.
    centred = x - x.mean(0)
    assert np.abs((grad * centred).sum(1)).max() > 1e-3
