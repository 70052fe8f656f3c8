"""Variational information bottleneck: a vector as a Gaussian that keeps what predicts.

Mai, Zeng and Hu, "Multimodal Information Bottleneck: Learning Minimal Sufficient
Unimodal and Multimodal Representations", IEEE TMM 2022. In the authors' code the
deviation starts near softplus(-5), which is almost none; its divergence from the prior
is `losses.gaussian_kl`.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from msajax.nn.linear import Linear

# Below it log(softplus(x)) is x to the last digit of float32, and softplus(x) may be 0.
_LOWEST = -17.0


class Bottleneck(nn.Module):
    """Mean and deviation of a Gaussian of the input's width.

    Attributes:
      hidden: width of the layer before them.
      start: the deviation is about softplus(start) at first; the authors' is -5.
    """

    hidden: int = 1024
    start: float = -5.0

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Reads each vector alone.

        Args:
          x: [..., D] float32 or bfloat16.

        Returns:
          mean and log_std, [..., D] float32 each.
        """
        dim = x.shape[-1]
        h = nn.relu(Linear(self.hidden, name="encoder")(x))
        mean = Linear(dim, name="mean")(h).astype(jnp.float32)
        raw = Linear(dim, name="std")(h).astype(jnp.float32) + self.start
        return mean, _log_softplus(raw)


def sample(mean: jax.Array, log_std: jax.Array, noise: jax.Array) -> jax.Array:
    """z = mean + std noise, from arrays of one shape; the noise is standard normal."""
    return mean + jnp.exp(log_std) * noise


def _log_softplus(x: jax.Array) -> jax.Array:
    """log(log(1 + exp(x))), finite with a finite gradient for all x."""
    high = jnp.log(jax.nn.softplus(jnp.maximum(x, _LOWEST)))
    return jnp.where(x > _LOWEST, high, x)
