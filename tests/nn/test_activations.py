import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from msajax.nn.activations import gelu

X = np.concatenate([np.linspace(-12, 12, 97), [0.0, -1e4, 1e4]]).astype("float32")


@pytest.mark.parametrize("dtype,near", [("float32", 1e-6), ("bfloat16", 1e-2)])
def test_gelu_and_its_gradient_are_jaxs(dtype, near):
    def sums(fn):
        def weighted(x):
            y = fn(x)
            return jnp.sum(y.astype(jnp.float32) * jnp.cos(X)), y

        (_, y), gradient = jax.value_and_grad(weighted, has_aux=True)(
            jnp.asarray(X, dtype)
        )
        assert y.dtype == gradient.dtype == dtype
        return y.astype("float32"), gradient.astype("float32")

    def plain(x):
        return nn.gelu(x, approximate=False)

    for ours, jaxs in zip(sums(gelu), sums(plain), strict=True):
        np.testing.assert_allclose(ours, jaxs, rtol=near, atol=near)


def test_gelu_keeps_its_input_alone():
    kept = jax.eval_shape(lambda x: jax.vjp(gelu, x)[1], jnp.asarray(X))
    assert [leaf.shape for leaf in jax.tree.leaves(kept)] == [X.shape]
