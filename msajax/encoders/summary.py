"""Where an encoder has its vector of a sequence, for systems that read it from the steps."""

import jax
import jax.numpy as jnp

from msajax.encoders.kinds import Encoder
from msajax.nn.pooling import mean_pool


def summary_steps(config: Encoder | None, mask: jax.Array) -> jax.Array:
    """The steps whose mean is the vector of a sequence.

    Args:
      config: of the encoder; None are features, as of BERT.
      mask: [B, L] bool, real steps, padded on either side.

    Returns:
      [B, L] bool, by the config's `summary`: the first real step, the last, or where there
      is no such step ("mean") all real ones.
    """
    place = config.summary if config else "first"
    if place == "mean":
        return mask
    if place == "last":
        return mask & (jnp.cumsum(mask[:, ::-1], axis=1)[:, ::-1] == 1)
    return mask & (jnp.cumsum(mask, axis=1) == 1)


def step_zero(config: Encoder | None, x: jax.Array, mask: jax.Array) -> jax.Array:
    """Position 0, which of BERT is the vector of a sequence, and of others what stands for it.

    Args:
      config: as in `summary_steps`.
      x: [B, L, D], padded at the end.
      mask: [B, L] bool, real steps.

    Returns:
      [B, D]: position 0; of an encoder whose `summary` is not "first" the mean of the
      `summary_steps`, and position 0 in a row without a real step alone.
    """
    if not config or config.summary == "first":
        return x[:, 0]
    zero = (jnp.arange(mask.shape[1]) == 0)[None]
    some = jnp.any(mask, axis=1, keepdims=True)
    return mean_pool(x, jnp.where(some, summary_steps(config, mask), zero))
