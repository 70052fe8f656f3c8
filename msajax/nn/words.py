"""Vectors of the words of a vocabulary (`msajax.data.vocabulary`), learned from nothing."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from msajax.nn.embedding import take

PADDING, FIRST = 0, 2  # 1 is any unknown word


class WordEmbedding(nn.Module):
    """Looks up the vector of each word: ids [B, L] int32 -> [B, L, dim].

    Padding is zeros. The vector of unknown words starts as zeros, so that it says
    nothing where training has no unknown word; the others start as N(0, 1), as in PyTorch.

    Attributes:
      size: number of ids.
      dim: width of the vectors.
      padded: padding has a vector too, as in references that take it for words.
    """

    size: int
    dim: int
    padded: bool = False

    @nn.compact
    def __call__(self, ids: jax.Array) -> jax.Array:
        """Looks up the vectors."""
        chex.assert_rank(ids, 2)
        table = self.param("embedding", _normal, (self.size, self.dim))
        known = self.padded | (ids > PADDING)
        return jnp.where(known[..., None], take(table, ids), 0)


def _normal(key: jax.Array, shape: tuple[int, int]) -> jax.Array:
    known = jnp.arange(shape[0])[:, None] >= FIRST
    return jnp.where(known, jax.random.normal(key, shape), 0)
