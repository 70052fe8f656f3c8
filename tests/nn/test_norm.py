import jax
import jax.numpy as jnp
import numpy as np
import pytest

from msajax import parallel
from msajax.nn.norm import BatchNorm, LayerNorm, l2_norm, unit

X = np.random.default_rng(0).normal(2.0, 3.0, (6, 3)).astype(np.float32)
VALID = np.array([True, True, False, True, True, False])


def normalise(x, where, variables=None, *, train=True, axis=-1):
    norm = BatchNorm(axis=axis)
    if variables is None:
        variables = norm.init(jax.random.key(0), x, where=where, train=train)
    return norm.apply(variables, x, where=where, train=train, mutable=["batch_stats"])


def test_valid_rows_alone_make_the_statistics():
    y, after = normalise(X, VALID)
    rows = X[VALID]
    mean, var = rows.mean(0), rows.var(0)
    np.testing.assert_allclose(y, (X - mean) / np.sqrt(var + 1e-5), atol=1e-5)
    stats = after["batch_stats"]
    np.testing.assert_allclose(stats["mean"], 0.1 * mean, atol=1e-6)
    unbiased = 0.9 + 0.1 * rows.var(0, ddof=1)
    np.testing.assert_allclose(stats["var"], unbiased, atol=1e-5)


def test_filler_rows_change_nothing():
    other = np.where(VALID[:, None], X, 100.0)
    (y, after), (z, again) = normalise(X, VALID), normalise(other, VALID)
    np.testing.assert_array_equal(y[VALID], z[VALID])
    jax.tree.map(np.testing.assert_array_equal, after, again)


def test_evaluation_uses_the_running_statistics_and_keeps_them():
    variables = {
        "params": {"scale": jnp.array([1.0, 2.0, 3.0]), "bias": jnp.array([0.0, 1.0, 2.0])},
        "batch_stats": {"mean": jnp.array([1.0, 0.0, -1.0]), "var": jnp.array([4.0, 1.0, 9.0])},
    }  # fmt: skip
    y, after = normalise(X, VALID, variables, train=False)
    want = (X - [1, 0, -1]) / np.sqrt(np.array([4, 1, 9]) + 1e-5) * [1, 2, 3]
    np.testing.assert_allclose(y, want + [0, 1, 2], atol=1e-5)
    jax.tree.map(
        np.testing.assert_array_equal, after["batch_stats"], variables["batch_stats"]
    )


@pytest.mark.parametrize("rows", [0, 1])
def test_fewer_than_two_values_leave_the_running_statistics(rows):
    y, after = normalise(X, np.arange(6) < rows)
    np.testing.assert_allclose(y, X / np.sqrt(1 + 1e-5), rtol=1e-6)
    np.testing.assert_array_equal(after["batch_stats"]["mean"], np.zeros(3))
    np.testing.assert_array_equal(after["batch_stats"]["var"], np.ones(3))


def test_time_steps_as_channels_with_a_mask():
    x = np.random.default_rng(1).normal(size=(4, 3, 5)).astype(np.float32)
    mask = np.arange(3)[None] < np.array([3, 1, 2, 1])[:, None]
    y, after = normalise(x, mask, axis=1)
    for step in range(3):
        real = x[mask[:, step], step]
        want = (x[:, step] - real.mean()) / np.sqrt(real.var() + 1e-5)
        np.testing.assert_allclose(y[:, step], want, atol=1e-5)
        np.testing.assert_allclose(
            after["batch_stats"]["var"][step], 0.9 + 0.1 * real.var(ddof=1), atol=1e-5
        )


def test_four_devices_share_the_statistics():
    x = np.random.default_rng(2).normal(size=(8, 3)).astype(np.float32)
    valid = np.arange(8) != 5
    alone, after = normalise(x, valid)
    devices = parallel.find_devices(4)
    shared = parallel.compile(normalise, devices, in_axes=(0, 0), out_axes=(0, None))
    y, after_shared = shared(x.reshape(4, 2, 3), valid.reshape(4, 2))
    np.testing.assert_allclose(np.reshape(y, (8, 3)), alone, atol=1e-6)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), after_shared, after
    )


def test_layer_norm_has_pytorchs_epsilon():
    x = np.array([[0.001, -0.001]], np.float32)
    y, _ = LayerNorm().init_with_output(jax.random.key(0), x)
    np.testing.assert_allclose(y, x / np.sqrt(1e-6 + 1e-5), rtol=1e-5)


def test_euclidean_norms_and_their_gradient_at_zero():
    x = jnp.array([[[3.0, 4.0], [0.0, 12.0]]])
    np.testing.assert_allclose(l2_norm(x), [[[5], [12]]])
    np.testing.assert_allclose(l2_norm(x, axis=(1, 2)), [[[13]]])
    gradient = jax.grad(lambda x: jnp.sum(l2_norm(x)))(x.at[0, 1].set(0))
    np.testing.assert_allclose(gradient, [[[0.6, 0.8], [0, 0]]], atol=1e-6)


def test_vectors_of_length_one():
    x = jnp.array([[3.0, 4.0], [0.0, 0.0]])
    np.testing.assert_allclose(unit(x), [[0.6, 0.8], [0, 0]], rtol=1e-6)
    assert np.isfinite(jax.grad(lambda x: jnp.sum(unit(x)))(x)).all()
