import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from msajax.nn import embedding
from msajax.nn.embedding import Embed

rng = np.random.default_rng(0)


@pytest.mark.parametrize("size", [2, 24, 25, 300])
def test_products_add_what_additions_do(size):
    ids = rng.integers(0, size, 24).astype(np.int32)
    rows = rng.normal(size=(24, 5)).astype(np.float32)
    wanted = np.zeros((size, 5))
    for i, row in zip(ids, rows, strict=True):
        wanted[i] += row
    for add in (embedding.by_additions, embedding.by_products):
        found = jax.jit(add, static_argnames="size")(ids, rows, size=size)
        np.testing.assert_allclose(found, wanted, atol=1e-6)
        assert found.dtype == jnp.float32


def test_products_of_half_precision_are_summed_in_float32():
    ids, ones = np.zeros(1000, np.int32), np.ones((1000, 1), jnp.bfloat16)
    for size in (3, 2000):  # bfloat16 cannot count beyond 256
        assert embedding.by_products(ids, ones, size=size)[0, 0] == 1000


@pytest.mark.parametrize("dtype", [None, jnp.bfloat16])
def test_values_and_gradients_are_flaxs(dtype):
    ids = rng.integers(0, 7, (3, 4)).astype(np.int32)
    weight = rng.normal(size=(3, 4, 5)).astype(np.float32)
    ours = Embed(7, 5, dtype)
    params = ours.init(jax.random.key(0), ids)
    table = {"params": {"embedding": params["params"]["embedding"]}}

    def loss(module, params):
        found = module.apply(params, ids)
        assert found.dtype == (dtype or jnp.float32)
        return jnp.sum(found.astype(jnp.float32) * weight)

    theirs = nn.Embed(7, 5, dtype=dtype)
    a, b = (jax.value_and_grad(loss, 1)(m, table) for m in (ours, theirs))
    np.testing.assert_array_equal(a[0], b[0])
    tolerance = 1e-6 if dtype is None else 0.05  # flax adds in bfloat16
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, atol=tolerance), a[1], b[1]
    )


def test_seeds_at_once_have_tables_of_their_own():
    ids = np.int32([[1, 1, 0]])
    tables = rng.normal(size=(2, 4, 3)).astype(np.float32)
    grads = jax.vmap(jax.grad(lambda t: jnp.sum(embedding.take(t, ids) ** 2)))(tables)
    np.testing.assert_allclose(grads[:, 1], 4 * tables[:, 1], rtol=1e-6)
    np.testing.assert_array_equal(grads[:, 2:], 0)


def test_a_gpu_program_adds_nothing_by_scatter():
    """Lowered for CUDA, the gradient has one scatter of rows of their own, and no addition."""

    def loss(table, ids):
        return jnp.sum(embedding.take(table, ids) ** 2)

    shapes = (
        jax.ShapeDtypeStruct((300, 5), "float32"),
        jax.ShapeDtypeStruct((24,), "int32"),
    )
    text = (
        jax.jit(jax.grad(loss))
        .trace(*shapes)
        .lower(lowering_platforms=("cuda",))
        .as_text()
    )
    scatters = text.count('"stablehlo.scatter"')
    assert scatters == text.count("unique_indices = true") == 1
