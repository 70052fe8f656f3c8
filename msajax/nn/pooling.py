"""One vector from a sequence; a sequence without a real step gives zeros."""

import jax
import jax.numpy as jnp

from msajax.nn.masks import assert_steps


def mean_pool(x: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean over the real steps: [B, L, D], mask [B, L] bool -> [B, D]."""
    assert_steps(x, mask)
    total = jnp.sum(jnp.where(mask[..., None], x, 0), axis=1, dtype=jnp.float32)
    mean = total / jnp.maximum(jnp.sum(mask, axis=1, keepdims=True), 1)
    return mean.astype(x.dtype)


def last_step(x: jax.Array, mask: jax.Array) -> jax.Array:
    """The last real step: [B, L, D], mask [B, L] bool, padded at the end -> [B, D]."""
    assert_steps(x, mask)
    last = jnp.arange(x.shape[1])[None] == jnp.sum(mask, axis=1, keepdims=True) - 1
    return jnp.sum(jnp.where(last[..., None], x, 0), axis=1)


def first_step(x: jax.Array, mask: jax.Array) -> jax.Array:
    """The first real step: [B, L, D], mask [B, L] bool, padded on either side -> [B, D]."""
    assert_steps(x, mask)
    first = mask & (jnp.cumsum(mask, axis=1) == 1)
    return jnp.sum(jnp.where(first[..., None], x, 0), axis=1)


def final_states(h: jax.Array, mask: jax.Array) -> jax.Array:
    """Where both directions of `Recurrent` end: [B, L, 2 D], mask [B, L] bool -> [B, 2, D]."""
    forward, backward = jnp.split(h, 2, axis=-1)
    return jnp.stack([last_step(forward, mask), first_step(backward, mask)], axis=1)
