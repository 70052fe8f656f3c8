"""Losses as pure functions: arrays in, one value per sample (or element) out; reductions are the caller's.

Predictions of any float type; the values are float32.
"""

import jax
import jax.numpy as jnp
import optax


def l1(pred: jax.Array, label: jax.Array) -> jax.Array:
    """Absolute error: [B], [B] -> [B]."""
    return jnp.abs(pred.astype(jnp.float32) - label)


def mse(pred: jax.Array, label: jax.Array) -> jax.Array:
    """Squared error: [B], [B] -> [B]."""
    return jnp.square(pred.astype(jnp.float32) - label)


def huber(x: jax.Array, *, delta: float) -> jax.Array:
    """x²/2 of each element up to |x| = delta, and linear beyond: [...] -> [...]."""
    return optax.huber_loss(x.astype(jnp.float32), delta=delta)


def cross_entropy(logits: jax.Array, label: jax.Array) -> jax.Array:
    """Cross-entropy in nats: logits [B, C], label [B] int32 -> [B]."""
    return optax.softmax_cross_entropy_with_integer_labels(
        logits.astype(jnp.float32), label
    )
