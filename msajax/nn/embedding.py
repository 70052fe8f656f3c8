"""Embedding tables whose gradients need no sum by atomic additions.

The gradient of a lookup adds the rows of a batch into the table. XLA compiles that on a
GPU to additions that wait for each other where rows share an id, and most do: half of
the time of a training step of BERT-base, before it was written as products (measured on
an H200, tools/README.md).
"""

import functools
from collections.abc import Callable
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp


class Embed(nn.Module):
    """A table of vectors, as `flax.linen.Embed` has it.

    Attributes:
      size: number of vectors.
      features: their width D.
      dtype: of the result; None is that of the table. Only the rows that are read are
        converted.
      embedding_init: of the table.
    """

    size: int
    features: int
    dtype: Any = None
    embedding_init: Callable[..., Any] = nn.initializers.normal(1.0)

    @nn.compact
    def __call__(self, ids: jax.Array) -> jax.Array:
        """[...] int32 to [..., D] vectors."""
        table = self.param("embedding", self.embedding_init, (self.size, self.features))
        return take(table, ids, self.dtype)


def take(table: jax.Array, ids: jax.Array, dtype: Any = None) -> jax.Array:
    """Rows of a table.

    Args:
      table: [V, D] float32.
      ids: [...] int32.
      dtype: of the result; None is the table's.

    Returns:
      [..., D].
    """
    chex.assert_rank(table, 2)
    chex.assert_type(ids, int)
    return _take(table, ids, table.shape[0], jnp.dtype(dtype or table.dtype).name)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _take(table, ids, size, dtype):
    del size
    return jnp.take(table, ids, axis=0).astype(dtype)


def _forward(table, ids, size, dtype):
    return _take(table, ids, size, dtype), ids


def _backward(size, dtype, ids, cotangent):
    del dtype
    flat = ids.reshape(-1), cotangent.reshape(-1, cotangent.shape[-1])
    # A processor adds in order, which is faster there than the products.
    gradient = jax.lax.platform_dependent(
        *flat,
        cpu=functools.partial(by_additions, size=size),
        default=functools.partial(by_products, size=size),
    )
    return gradient, None


_take.defvjp(_forward, _backward)


def by_additions(ids: jax.Array, rows: jax.Array, *, size: int) -> jax.Array:
    """Rows [N, D] added into a table [size, D] float32 at their ids [N]."""
    chex.assert_shape(ids, rows.shape[:1])
    table = jnp.zeros((size, rows.shape[1]), jnp.float32)
    return table.at[ids].add(rows.astype(jnp.float32))


def by_products(ids: jax.Array, rows: jax.Array, *, size: int) -> jax.Array:
    """As `by_additions`, by products with matrices of zeros and ones, so in a fixed order."""
    chex.assert_shape(ids, rows.shape[:1])
    product = functools.partial(jnp.matmul, preferred_element_type=jnp.float32)
    if size <= len(ids):
        return product(
            (jnp.arange(size)[:, None] == ids[None]).astype(rows.dtype), rows
        )
    same = ids[:, None] == ids[None]
    sums = product(same.astype(rows.dtype), rows)  # each row has the sum of its id
    first = jnp.argmax(same, axis=1) == jnp.arange(len(ids))
    # One row of an id is written; the others point behind the table and are dropped.
    place = jnp.where(first, ids, size + jnp.arange(len(ids)))
    table = jnp.zeros((size, rows.shape[1]), jnp.float32)
    return table.at[place].set(sums, mode="drop", unique_indices=True)
