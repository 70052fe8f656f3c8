"""Where an encoder has its vector of a sequence, for systems that read it from the steps."""

import jax
import jax.numpy as jnp

from msajax.encoders.kinds import Encoder


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
