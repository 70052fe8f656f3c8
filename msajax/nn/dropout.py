"""Dropout whose masks cost next to nothing.

A mask needs no cryptographic generator: JAX's default one takes longer per
element than most of what a network does with it. Here it draws two words for
each mask, and a hash of them and of an element's number decides over the element.
"""

import functools

import chex
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
        return _drop(x, self.words(), self.rate)

    def words(self) -> jax.Array:
        """The words that decide a mask, for `keep`: [2] uint32."""
        return jax.random.bits(self.make_rng("dropout"), (2,), jnp.uint32)


def keep(words: jax.Array, numbers: jax.Array, rate: float) -> jax.Array:
    """Which elements dropout leaves.

    Args:
      words: [2] uint32, from `Dropout.words`.
      numbers: uint32, of the elements.
      rate: probability of a zero, below 1.

    Returns:
      bool, True on elements that stay.
    """
    below = min(round((1 - rate) * 2**32), 2**32 - 1)
    return random_bits(words, numbers) < jnp.uint32(below)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _drop(x: jax.Array, words: jax.Array, rate: float) -> jax.Array:
    if rate >= 1:
        return jnp.zeros_like(x)
    numbers = jax.lax.iota(jnp.uint32, x.size).reshape(x.shape)
    # In float32: the scale itself would lose digits in bfloat16.
    scaled = x.astype(jnp.float32) * (1 / (1 - rate))
    return jnp.where(keep(words, numbers, rate), scaled, 0).astype(x.dtype)


# The mask is made again in the backward pass: cheaper than to keep it.
_drop.defvjp(
    lambda x, words, rate: (_drop(x, words, rate), words),
    lambda rate, words, gradient: (_drop(gradient, words, rate), None),
)


def random_bits(words: jax.Array, numbers: jax.Array) -> jax.Array:
    """32 random bits for each number, a function of it and of two random words.

    Args:
      words: [2] uint32.
      numbers: uint32.

    Returns:
      An array of uint32, like numbers.

    Source: the integer hash 'triple32' of Chris Wellons' hash-prospector (public
    domain), with a word added before each of its first two rounds.
    """
    chex.assert_shape(words, (2,))
    chex.assert_type([words, numbers], jnp.uint32)
    first, second = words.reshape((2,) + (1,) * numbers.ndim)
    bits = _mix(numbers + first, 17, 0xED5AD4BB)
    bits = _mix(bits + second, 11, 0xAC4C1B51)
    bits = _mix(bits, 15, 0x31848BAB)
    return bits ^ (bits >> 14)


def _mix(x: jax.Array, shift: int, factor: int) -> jax.Array:
    return (x ^ (x >> shift)) * jnp.uint32(factor)
