"""Sinusoidal position vectors as in fairseq and MulT.

Unlike "Attention Is All You Need": the first half of the width holds sines,
the second half cosines; positions count from 1. `interleaved` is that paper's own.
"""

import math

import chex
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


def interleaved(length: int, dim: int) -> np.ndarray:
    """Vectors of positions 0 to `length` - 1, sines and cosines in turn: [length, dim] float32.

    Source: Vaswani et al., "Attention Is All You Need", NeurIPS 2017, section 3.5.
    """
    frequency = np.exp(np.arange(0, dim, 2) * -math.log(10000) / dim)
    angle = np.arange(length)[:, None] * frequency
    pairs = np.stack([np.sin(angle), np.cos(angle)], axis=-1)
    return pairs.reshape(length, -1)[:, :dim].astype(np.float32)


def position_vectors(
    x: jax.Array, *, fairseq_zero_pos: bool, counted_pos: bool = False
) -> jax.Array:
    """Position vectors to add to a sequence.

    Args:
      x: [B, L, D] float32, the sequence before scaling.
      fairseq_zero_pos: the reference's quirk: a step whose feature 0 is exactly
        0 is taken for padding and gets the zero vector (under dropout before
        the encoder, any step may).
      counted_pos: the quirk of CorMulT's copy: such a step does not count either,
        so that those after it have earlier positions.

    Returns:
      [B, L, D] float32.
    """
    chex.assert_rank(x, 3)
    table, real = sinusoid(*x.shape[1:]), x[..., 0] != 0
    if counted_pos:
        rows = jnp.where(real, jnp.cumsum(real, axis=1), 0)
        return jnp.asarray(np.pad(table, ((1, 0), (0, 0))))[rows]
    vectors = jnp.broadcast_to(table[None], x.shape)
    return jnp.where(real[..., None], vectors, 0) if fairseq_zero_pos else vectors
