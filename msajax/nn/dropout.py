"""Dropout whose masks cost next to nothing.

A mask needs no cryptographic generator: JAX's default one takes longer per
element than most of what a network does with it. Here it draws two words for
each mask, and a hash of them and of an element's number decides over the element.
"""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp


class Dropout(nn.Module):
    """Zeros elements at random and scales the others up; the interface of linen's Dropout.

    An array of more than 2**32 elements repeats its mask after that many.

    Attributes:
      rate: probability of a zero.
      deterministic: do nothing; may be given at the call instead.
    """

    rate: float
    deterministic: bool | None = None

    @nn.compact
    def __call__(self, x: jax.Array, deterministic: bool | None = None) -> jax.Array:
        """An array like x."""
        deterministic = nn.merge_param(
            "deterministic", self.deterministic, deterministic
        )
        if deterministic or self.rate == 0:
            return x
        words = jax.random.bits(self.make_rng("dropout"), (2,), jnp.uint32)
        return _drop(x, words, self.rate)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _drop(x: jax.Array, words: jax.Array, rate: float) -> jax.Array:
    if rate >= 1:
        return jnp.zeros_like(x)
    below = min(round((1 - rate) * 2**32), 2**32 - 1)
    keep = random_bits(words, x.shape) < jnp.uint32(below)
    # In float32: the scale itself would lose digits in bfloat16.
    scaled = x.astype(jnp.float32) * (1 / (1 - rate))
    return jnp.where(keep, scaled, 0).astype(x.dtype)


# The mask is made again in the backward pass: cheaper than to keep it.
_drop.defvjp(
    lambda x, words, rate: (_drop(x, words, rate), words),
    lambda rate, words, gradient: (_drop(gradient, words, rate), None),
)


def random_bits(words: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """32 random bits for each element, a function of its number and of two random words.

    Args:
      words: [2] uint32.
      shape: of the result.

    Returns:
      An array of uint32.

    Source: the integer hash 'triple32' of Chris Wellons' hash-prospector (public
    domain), with a word added before each of its first two rounds.
    """
    bits = jax.lax.iota(jnp.uint32, math.prod(shape)).reshape(shape)
    first, second = words.reshape((2,) + (1,) * len(shape))
    bits = _mix(bits + first, 17, 0xED5AD4BB)
    bits = _mix(bits + second, 11, 0xAC4C1B51)
    bits = _mix(bits, 15, 0x31848BAB)
    return bits ^ (bits >> 14)


def _mix(x: jax.Array, shift: int, factor: int) -> jax.Array:
    return (x ^ (x >> shift)) * jnp.uint32(factor)
