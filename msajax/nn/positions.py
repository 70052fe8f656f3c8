"""Sinusoidal position vectors as in fairseq and MulT.

Unlike "Attention Is All You Need": the first half of the width holds sines,
the second half cosines; positions count from 1.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np


def sinusoid(length: int, dim: int) -> np.ndarray:
    """Vectors of positions 1 to `length`: [length, dim] float32; an odd dim ends in a zero.

    Source: modules/position_embedding.py of yaohungt/Multimodal-Transformer.
    """
    half = dim // 2
    frequency = np.exp(np.arange(half) * -math.log(10000) / max(half - 1, 1))
    angle = np.arange(1, length + 1)[:, None] * frequency
    odd = np.zeros((length, dim % 2))
    return np.concatenate([np.sin(angle), np.cos(angle), odd], 1).astype(np.float32)


def position_vectors(x: jax.Array, *, fairseq_zero_pos: bool) -> jax.Array:
    """Position vectors to add to a sequence.

    Args:
      x: [B, L, D] float32, the sequence before scaling.
      fairseq_zero_pos: the reference's quirk: a step whose feature 0 is exactly
        0 is taken for padding and gets the zero vector (under dropout before
        the encoder, any step may).

    Returns:
      [B, L, D] float32.
    """
    vectors = jnp.broadcast_to(sinusoid(*x.shape[1:])[None], x.shape)
    return jnp.where(x[..., :1] != 0, vectors, 0) if fairseq_zero_pos else vectors
