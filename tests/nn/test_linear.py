import jax
import jax.numpy as jnp
import numpy as np

from msajax.nn.linear import Linear, uniform


def test_is_affine_on_the_last_axis():
    x = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    layer = Linear(5)
    params = layer.init(jax.random.key(0), x)["params"]
    want = x @ np.asarray(params["kernel"]) + np.asarray(params["bias"])
    np.testing.assert_allclose(layer.apply({"params": params}, x), want, atol=1e-6)


def test_weights_and_biases_fill_the_interval_of_pytorch():
    params = Linear(400).init(jax.random.key(1), jnp.ones((1, 16)))["params"]
    for leaf in (params["kernel"], params["bias"]):
        assert 0.24 < jnp.max(jnp.abs(leaf)) <= 0.25  # 1/sqrt(16)
        np.testing.assert_allclose(jnp.var(leaf), 0.25**2 / 3, rtol=0.1)


def test_uniform_scales_with_the_fan():
    draw = uniform(100)(jax.random.key(2), (1000,))
    assert 0.099 < jnp.max(draw) <= 0.1


def test_without_bias_it_is_linear():
    x = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    y, variables = Linear(5, bias=False).init_with_output(jax.random.key(0), x)
    assert set(variables["params"]) == {"kernel"}
    np.testing.assert_allclose(y, x @ variables["params"]["kernel"], atol=1e-6)
