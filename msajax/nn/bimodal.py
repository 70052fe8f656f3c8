"""Bi-modal attention of MMMU-BA: Ghosal et al., "Contextual Inter-modal Attention for Multi-modal Sentiment Analysis", EMNLP 2018."""

import chex
import jax
import jax.numpy as jnp

from msajax.nn.attention import masked_softmax


def attend_pair(
    x: jax.Array,
    y: jax.Array,
    masks: tuple[jax.Array, jax.Array] | None = None,
) -> tuple[jax.Array, jax.Array]:
    """What x has from y, gated by x, and the other way around.

    Args:
      x: [B, Q, D].
      y: [B, K, D].
      masks: of both, real steps, [B, Q] and [B, K] bool; None attends to all.

    Returns:
      [B, Q, D] and [B, K, D].
    """
    chex.assert_rank([x, y], 3)
    chex.assert_equal_shape([x, y], dims=(0, 2))
    scores = jnp.einsum("bqd,bkd->bqk", x, y, preferred_element_type=jnp.float32)
    of_x, of_y = masks or (jnp.ones(v.shape[:2], bool) for v in (x, y))
    to_y = masked_softmax(scores, of_y[:, None]).astype(y.dtype)
    scores = jnp.swapaxes(scores, 1, 2)
    to_x = masked_softmax(scores, of_x[:, None]).astype(x.dtype)
    from_y = jnp.einsum("bqk,bkd->bqd", to_y, y)
    from_x = jnp.einsum("bkq,bqd->bkd", to_x, x)
    return from_y * x, from_x * y
