import jax
import jax.numpy as jnp
import numpy as np

from msajax import losses


def test_huber_by_hand():
    x = jnp.array([0.0, 0.5, -1.0, 2.0, -4.0])
    np.testing.assert_allclose(losses.huber(x, delta=2.0), [0, 0.125, 0.5, 2, 6])
    np.testing.assert_allclose(losses.huber(x, delta=1.0), [0, 0.125, 0.5, 1.5, 3.5])


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
