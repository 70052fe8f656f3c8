"""Layer and batch normalisation with PyTorch's conventions; Euclidean norms."""

import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from msajax import parallel

# torch.nn.LayerNorm's epsilon; linen's fast variance would lose digits.
LayerNorm = functools.partial(nn.LayerNorm, epsilon=1e-5, use_fast_variance=False)


def l2_norm(x: jax.Array, axis: int | tuple[int, ...] = -1) -> jax.Array:
    """Euclidean norm over axes that stay with length 1; its gradient at 0 is 0."""
    square = jnp.sum(jnp.square(x), axis=axis, keepdims=True)
    positive = square > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1)), 0)


def unit(x: jax.Array) -> jax.Array:
    """Vectors over the last axis divided by their lengths; 0 stays 0."""
    length = l2_norm(x)
    return x / jnp.where(length > 0, length, 1)


class BatchNorm(nn.Module):
    """Batch normalisation over the rows of the global batch that count.

    As torch.nn.BatchNorm1d: the biased variance normalises, the unbiased one
    enters the running average. A channel with fewer than two values (one row,
    where PyTorch refuses) has no variance: its running statistics serve, and
    stay as they are.

    Attributes:
      axis: the axis of channels, each with statistics of its own.
      momentum: weight of a batch in the running statistics.
      epsilon: added to the variance.
    """

    axis: int = -1
    momentum: float = 0.1
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: jax.Array, *, where: jax.Array, train: bool) -> jax.Array:
        """Normalises each channel.

        Args:
          x: [B, D] or [B, L, D] float32.
          where: [B] or [B, L] bool, False on values that weigh nothing.
          train: use the batch's statistics and update the running ones.

        Returns:
          An array like x; what `where` leaves out is normalised as well.
        """
        chex.assert_rank(x, {2, 3})
        chex.assert_shape(where, x.shape[: where.ndim])
        dtype, x = x.dtype, x.astype(jnp.float32)
        others = tuple(i for i in range(x.ndim) if i != self.axis % x.ndim)
        shape = (x.shape[self.axis],)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        running_var = self.variable("batch_stats", "var", jnp.ones, shape)
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        mean, var = running_mean.value, running_var.value
        if train and not self.is_initializing():
            batch_mean, batch_var, count = _moments(x, where, others)
            enough = count > 1
            unbiased = batch_var * count / jnp.maximum(count - 1, 1)
            update = jnp.where(enough, self.momentum, 0.0)
            running_mean.value = mean + update * (batch_mean - mean)
            running_var.value = var + update * (unbiased - var)
            mean = jnp.where(enough, batch_mean, mean)
            var = jnp.where(enough, batch_var, var)
        gain = scale * jax.lax.rsqrt(var + self.epsilon)
        mean, gain, bias = (jnp.expand_dims(v, others) for v in (mean, gain, bias))
        return ((x - mean) * gain + bias).astype(dtype)


def _moments(
    x: jax.Array, where: jax.Array, others: tuple[int, ...]
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Mean, biased variance and number of the values of each channel: three [channels]."""
    where = where.reshape(where.shape + (1,) * (x.ndim - where.ndim))

    def total(values):
        values = jnp.where(where, values, 0)
        return parallel.batch_sum(jnp.sum(values, axis=others[1:]))

    count = total(jnp.ones_like(x))
    mean = total(x) / jnp.maximum(count, 1)
    var = total(jnp.square(x - jnp.expand_dims(mean, others)))
    return mean, var / jnp.maximum(count, 1), count
