"""The text attends to itself by products of its steps, which another modality adjusts: CM-BERT and MBA."""

from collections.abc import Callable

import chex
import jax
import jax.numpy as jnp

from msajax.nn.attention import masked_softmax
from msajax.nn.masks import assert_steps


def similarity(x: jax.Array, norm: jax.Array) -> jax.Array:
    """Products of all steps of x / sqrt(norm): [B, L, D], norm [B or 1, 1, 1] -> [B, L, L] float32."""
    chex.assert_rank(x, 3)
    chex.assert_shape(norm, (None, 1, 1))
    products = jnp.einsum("bqd,bkd->bqk", x, x, preferred_element_type=jnp.float32)
    return products / jnp.maximum(norm, 1e-6)


def adjust(
    text: jax.Array,
    scores: jax.Array,
    mask: jax.Array,
    dropout: Callable[[jax.Array], jax.Array] = lambda weights: weights,
) -> tuple[jax.Array, jax.Array]:
    """The text plus what it attends to in itself (MBA's equations 16 and 17).

    Args:
      text: [B, L, D].
      scores: [B, L, L] float32, from query to key.
      mask: [B, L] bool, real steps, those attended to.
      dropout: of the attention weights.

    Returns:
      An array like text, and the attention before dropout, [B, L, L] float32.
    """
    assert_steps(text, mask)
    chex.assert_shape(scores, (*text.shape[:2], text.shape[1]))
    attention = masked_softmax(scores, mask[:, None])
    values = jnp.where(mask[..., None], text, 0)
    weights = dropout(attention).astype(text.dtype)
    mixed = jnp.einsum("bqk,bkd->bqd", weights, values)
    return text + mixed, attention
