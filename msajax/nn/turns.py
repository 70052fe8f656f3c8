"""Blocks over the turns of a dialogue."""

from collections.abc import Sequence

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from msajax.nn.attention import masked_softmax
from msajax.nn.linear import Linear
from msajax.nn.masks import assert_steps


def features(batch: dict[str, jax.Array], modalities: Sequence[str]) -> jax.Array:
    """The utterances' features of several modalities side by side, 0 where one lacks them: [B, U, D].

    Args:
      batch: of the dialogue view.
      modalities: those to take.
    """
    parts = []
    for m in modalities:
        own = batch[f"{m}_mask"] & batch["utterance_mask"]
        assert_steps(batch[m], own)
        parts.append(jnp.where(own[..., None], batch[m], 0))
    return jnp.concatenate(parts, axis=-1)


class MatchingAttention(nn.Module):
    """Each turn attends to all turns of its dialogue, by products with a linear image of its own.

    The form 'general2' of declare-lab/conv-emotion's MatchingAttention, where masked scores
    are zero, and masked weights are taken out and the others made to sum to 1 again: as a
    softmax over the real turns.

    Attributes:
      squash: tanh of the scores, as all copies of it but DialogueRNN's have it.
    """

    squash: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
        """[B, U, D], mask [B, U] bool -> attended [B, U, D], weights [B, U, U] by query and key."""
        assert_steps(x, mask)
        queries = Linear(x.shape[-1], name="transform")(x)
        scores = jnp.einsum("bqd,bkd->bqk", queries, x).astype(jnp.float32)
        weights = masked_softmax(
            jnp.tanh(scores) if self.squash else scores, mask[:, None]
        )
        return jnp.einsum("bqk,bkd->bqd", weights.astype(x.dtype), x), weights


def reverse(x: jax.Array, mask: jax.Array) -> jax.Array:
    """The real turns in reverse, padding still at the end: [B, U, ...], [B, U] bool -> like x, 0 on padding."""
    chex.assert_equal_shape_prefix([x, mask], 2)
    chex.assert_rank(mask, 2)
    chex.assert_type(mask, bool)
    length = jnp.sum(mask, axis=1, keepdims=True)
    at = jnp.maximum(length - 1 - jnp.arange(mask.shape[1])[None], 0)
    more = (1,) * (x.ndim - 2)
    found = jnp.take_along_axis(x, at.reshape(*at.shape, *more), axis=1)
    return jnp.where(mask.reshape(*mask.shape, *more), found, 0)
