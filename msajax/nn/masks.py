"""Masks: which steps are real, and which of them a query may see. True is visible."""

import chex
import jax
import jax.numpy as jnp


def assert_steps(x: jax.Array, mask: jax.Array) -> None:
    """Asserts that x is [B, L, D] and mask [B, L] bool: once, when a program is traced."""
    chex.assert_rank(x, 3)
    chex.assert_shape(mask, x.shape[:2])
    chex.assert_type(mask, bool)


def step_masks(
    batch: dict[str, jax.Array], *, padded: bool
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Steps of text, audio and vision that a system works on.

    Args:
      batch: has text_mask, audio_mask and vision_mask, [B, L] bool each.
      padded: take padded steps for real ones, as references do that know no
        lengths.

    Returns:
      Three [B, L] bool.
    """
    text, audio, vision = (
        jnp.ones_like(batch[name]) if padded else batch[name]
        for name in ("text_mask", "audio_mask", "vision_mask")
    )
    return text, audio, vision


def visible(queries: jax.Array, keys: jax.Array, *, causal: bool) -> jax.Array:
    """Keys that each query may attend to.

    Causal means MulT's diagonal: with n_q real queries and n_k real keys, query
    i sees keys 0..i+|n_k - n_q|, in each sample as if it stood alone.

    Args:
      queries: [B, Q] bool, real steps of the queries.
      keys: [B, K] bool, real steps of the keys.
      causal: hide later keys.

    Returns:
      [B, Q, K] bool.
    """
    chex.assert_rank([queries, keys], 2)
    chex.assert_equal_shape_prefix([queries, keys], 1)
    mask = jnp.broadcast_to(keys[:, None], (*queries.shape, keys.shape[1]))
    if causal:
        offset = jnp.abs(jnp.sum(keys, axis=1) - jnp.sum(queries, axis=1))
        i = jnp.arange(queries.shape[1])[None, :, None]
        j = jnp.arange(keys.shape[1])[None, None, :]
        mask &= j <= i + offset[:, None, None]
    return mask


def front(own: jax.Array) -> jax.Array:
    """The mask of so many first steps as are True in each row: [B, L] bool -> [B, L] bool."""
    return jnp.arange(own.shape[1])[None] < jnp.sum(own, axis=1, keepdims=True)


def to_front(x: jax.Array, own: jax.Array) -> jax.Array:
    """The steps where own [B, L] is True, moved to the front in their order, zeros behind: [B, L, D]."""
    assert_steps(x, own)
    order = jnp.argsort(~own, axis=1, stable=True)
    moved = jnp.take_along_axis(x, order[..., None], axis=1)
    return jnp.where(front(own)[..., None], moved, 0)


def to_places(x: jax.Array, own: jax.Array) -> jax.Array:
    """Step i moved to the i-th True of own [B, L], zeros elsewhere: the way back of `to_front`."""
    assert_steps(x, own)
    i = jnp.maximum(jnp.cumsum(own, axis=1) - 1, 0)
    moved = jnp.take_along_axis(x, i[..., None], axis=1)
    return jnp.where(own[..., None], moved, jnp.zeros_like(moved))
