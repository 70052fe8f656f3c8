"""A random generator that compiles fast, for tests that need numbers and not their quality.

Most of what a system's initialisation takes to compile is JAX's default generator, once
for each parameter: 3 of 4 seconds of MFON at the tests' sizes. The initializers stay the
system's own.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.random import define_prng_impl


def _mix(x):
    """The integer hash 'lowbias32' of Chris Wellons' hash-prospector (public domain)."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)


def _seed(seed):
    return _mix(jnp.asarray(seed).astype(jnp.uint32) + jnp.uint32(1))[None]


def _fold_in(key, data):
    return _mix(key * jnp.uint32(3) + data.astype(jnp.uint32))


def _split(key, shape):
    numbers = jnp.arange(np.prod(shape), dtype=jnp.uint32).reshape(*shape, 1)
    return _mix(key.reshape((1,) * len(shape) + (1,)) * jnp.uint32(5) + numbers)


def _bits(key, width, shape):
    numbers = jnp.arange(np.prod(shape, dtype=int), dtype=jnp.uint32)
    bits = _mix(numbers * jnp.uint32(0x9E3779B9) + key).reshape(shape)
    return bits.astype(f"uint{width}")


IMPL = define_prng_impl(
    key_shape=(1,),
    seed=_seed,
    split=_split,
    random_bits=_bits,
    fold_in=_fold_in,
    name="tests",
    tag="tests",
)


def key(seed):
    """As `jax.random.key`."""
    return jax.random.key(seed, impl=IMPL)
