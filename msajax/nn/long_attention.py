"""Attention over long sequences, whose weights the backward pass computes again.

Dao et al., "FlashAttention: Fast and Memory-Efficient Exact Attention with
IO-Awareness", NeurIPS 2022: the backward pass is that of appendix B.2. On a CPU
a block is one head of one row, whose weights stay in the cache; elsewhere it is
all of them, so that no more than one layer's weights exist at a time.
"""

import functools

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from msajax.nn.dropout import keep

# Name of what a rematerialised layer should keep: small, and the costliest to compute.
SAVED = "attend_long"
_LEAST = float(jnp.finfo(jnp.float32).min)


@functools.partial(jax.custom_vjp, nondiff_argnums=(5,))
def attend_long(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    mask: jax.Array,
    words: jax.Array,
    rate: float,
) -> jax.Array:
    """Scaled dot-product attention that keeps no weights; by position, for `custom_vjp`.

    Args:
      q: [B, H, Q, E].
      k, v: [B, H, K, E].
      mask: [B, 1, Q or 1, K] bool.
      words: [2] uint32, the random words of dropout.
      rate: of dropout, below 1.

    Returns:
      [B, H, Q, E]; zeros for a query that sees no key.
    """
    return _forward(q, k, v, mask, words, rate)[0]


def _forward(q, k, v, mask, words, rate):
    def block(q, k, v, mask, start):
        scores = jnp.where(mask, _scores(q, k), _LEAST)
        high = scores.max(axis=-1, keepdims=True)
        weights = jnp.where(mask, jnp.exp(scores - high), 0)
        # At least 1, the weight of the highest score; 0 where no key is seen.
        total = jnp.maximum(weights.sum(axis=-1, keepdims=True), 1)
        if rate:
            kept = keep(words, start + _numbers(weights.shape), rate)
            weights = jnp.where(kept, weights, 0)
        # Scaled after the product, which has fewer columns than there are keys.
        heads = (weights.astype(v.dtype) @ v) / (total * (1 - rate))
        return heads.astype(v.dtype), high + jnp.log(total)

    made = _blocks(block, q.shape[2] * k.shape[2], mask, q, k, v)
    heads, log_total = (checkpoint_name(x, SAVED) for x in made)
    return heads, (q, k, v, mask, words, heads, log_total)


def _backward(rate, saved, gradient):
    *inputs, mask, words, heads, log_total = saved

    # All [.., K, Q]: two of the three products then need no transposed copy.
    def block(q, k, v, heads, log_total, gradient, mask, start):
        weights = jnp.where(mask, jnp.exp(_scores(k, q) - log_total), 0)
        by_weight, dropped = _products(v, gradient), weights
        if rate:
            kept = keep(words, start + _numbers(weights.shape, transposed=True), rate)
            by_weight = jnp.where(kept, by_weight * (1 / (1 - rate)), 0)
            dropped = jnp.where(kept, weights * (1 / (1 - rate)), 0)
        mean = jnp.sum(gradient.astype(jnp.float32) * heads, axis=-1)[..., None, :]
        by_score = weights * (by_weight - mean) * q.shape[-1] ** -0.5
        by_score = by_score.astype(q.dtype)
        return (
            jnp.swapaxes(by_score, -1, -2) @ k,
            by_score @ q,
            dropped.astype(q.dtype) @ gradient,
        )

    q, k, _ = inputs
    size = q.shape[2] * k.shape[2]
    log_total, mask = jnp.swapaxes(log_total, 2, 3), jnp.swapaxes(mask, 2, 3)
    by_inputs = _blocks(block, size, mask, *inputs, heads, log_total, gradient)
    return *by_inputs, None, None


attend_long.defvjp(_forward, _backward)


def _products(q: jax.Array, k: jax.Array) -> jax.Array:
    """[..., Q, E] and [..., K, E] -> [..., Q, K] float32."""
    return jnp.einsum("...qe,...ke->...qk", q, k, preferred_element_type=jnp.float32)


def _scores(q: jax.Array, k: jax.Array) -> jax.Array:
    return _products(q, k) * q.shape[-1] ** -0.5


def _numbers(shape: tuple[int, ...], *, transposed: bool = False) -> jax.Array:
    """Numbers of the weights [..., Q, K], or of [..., K, Q] with those of [..., Q, K]."""
    # By strides: XLA does not vectorise a transposed iota.
    axes = list(range(len(shape)))
    if transposed:
        axes[-2], axes[-1] = axes[-1], axes[-2]
    numbers, stride = jnp.uint32(0), 1
    for axis in reversed(axes):
        index = jax.lax.broadcasted_iota(jnp.uint32, shape, axis)
        numbers, stride = numbers + index * jnp.uint32(stride), stride * shape[axis]
    return numbers


def _blocks(block, size: int, mask: jax.Array, *arrays: jax.Array):
    """block(*arrays, mask, number of the first weight), of all or of one head at a time."""
    if jax.default_backend() != "cpu":
        return block(*arrays, mask, jnp.uint32(0))
    first = arrays[0]
    starts = jnp.arange(first.shape[0] * first.shape[1], dtype=jnp.uint32) * size
    starts = starts.reshape(first.shape[:2])

    def of_row(row):
        *heads, mask, starts = row
        return jax.lax.map(lambda x: block(*x[:-1], mask, x[-1]), (*heads, starts))

    return jax.lax.map(of_row, (*arrays, mask[:, 0], starts))
