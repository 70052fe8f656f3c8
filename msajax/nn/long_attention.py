"""Attention over long sequences, whose weights the backward pass computes again.

Dao et al., "FlashAttention: Fast and Memory-Efficient Exact Attention with
IO-Awareness", NeurIPS 2022: the backward pass is that of appendix B.2. On a CPU
a block is one head of one row, whose weights stay in the cache. Elsewhere it is as many
keys of all heads as `_BYTES` permits (algorithm 1, without its blocks of queries).
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from msajax.nn.dropout import keep

# Name of what a rematerialised layer should keep: small, and the costliest to compute.
SAVED = "attend_long"
_LEAST = float(jnp.finfo(jnp.float32).min)
# Bytes of a block's weights in float32, of each seed, where all heads are computed at once.
# Each block more costs a GPU launches: of MulT at MOSI's lengths, batch 16, blocks of 128
# keys take half the memory (0.47 GB, not 0.92), but 7,193 kernels a step, not 5,194.
_BYTES = 2**28


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
    made = jax.lax.platform_dependent(
        *(q, k, v, mask, words),
        cpu=functools.partial(_forward_by_head, rate=rate),
        default=functools.partial(_forward_by_keys, rate=rate),
    )
    heads, log_total = (checkpoint_name(x, SAVED) for x in made)
    return heads, (q, k, v, mask, words, heads, log_total)


def _backward(rate, saved, gradient):
    by_inputs = jax.lax.platform_dependent(
        *(*saved, gradient),
        cpu=functools.partial(_backward_by_head, rate=rate),
        default=functools.partial(_backward_by_keys, rate=rate),
    )
    return *by_inputs, None, None


attend_long.defvjp(_forward, _backward)


def _forward_by_head(q, k, v, mask, words, *, rate):
    """Outputs [B, H, Q, E] and logarithms of the sums of weights [B, H, Q, 1]."""

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

    return _by_head(block, q.shape[2] * k.shape[2], mask, q, k, v)


def _backward_by_head(q, k, v, mask, words, heads, log_total, gradient, *, rate):
    """Gradients by q, k and v."""

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

    size = q.shape[2] * k.shape[2]
    log_total, mask = jnp.swapaxes(log_total, 2, 3), jnp.swapaxes(mask, 2, 3)
    return _by_head(block, size, mask, q, k, v, heads, log_total, gradient)


def _by_head(block, size: int, mask: jax.Array, *arrays: jax.Array):
    """block(*arrays, mask, number of the first weight), of one head at a time."""
    first = arrays[0]
    starts = jnp.arange(first.shape[0] * first.shape[1], dtype=jnp.uint32) * size
    starts = starts.reshape(first.shape[:2])

    def of_row(row):
        *heads, mask, starts = row
        return jax.lax.map(lambda x: block(*x[:-1], mask, x[-1]), (*heads, starts))

    return jax.lax.map(of_row, (*arrays, mask[:, 0], starts))


def _forward_by_keys(q, k, v, mask, words, *, rate):
    """As `_forward_by_head`."""

    def block(carry, of_keys):
        before, total, heads = carry
        k, v, mask, start = of_keys
        scores = jnp.where(mask, _scores(q, k), _LEAST)
        high = jnp.maximum(before, scores.max(axis=-1, keepdims=True))
        weights = jnp.where(mask, jnp.exp(scores - high), 0)
        scale = jnp.exp(before - high)
        total = scale * total + weights.sum(axis=-1, keepdims=True)
        if rate:
            weights = jnp.where(keep(words, numbers(start), rate), weights, 0)
        heads = scale * heads + _mean(weights.astype(v.dtype), v)
        return (high, total, heads), None

    numbers = functools.partial(_numbers_of_keys, (*q.shape[:3], k.shape[2]))
    # [B, H, Q, 1]
    low, none = (jnp.full_like(q[..., :1], x, jnp.float32) for x in (_LEAST, 0))
    start = low, none, jnp.zeros_like(q, jnp.float32)
    (high, total, heads), _ = jax.lax.scan(
        block, start, _blocks_of_keys(q.shape[:3], k, v, mask)
    )
    total = jnp.maximum(total, 1)
    return (heads / (total * (1 - rate))).astype(v.dtype), high + jnp.log(total)


def _backward_by_keys(q, k, v, mask, words, heads, log_total, gradient, *, rate):
    """As `_backward_by_head`."""

    def block(by_q, of_keys):
        k, v, mask, start = of_keys
        weights = jnp.where(mask, jnp.exp(_scores(q, k) - log_total), 0)
        by_weight, dropped = _products(gradient, v), weights
        if rate:
            kept = keep(words, numbers(start), rate)
            by_weight = jnp.where(kept, by_weight * (1 / (1 - rate)), 0)
            dropped = jnp.where(kept, weights * (1 / (1 - rate)), 0)
        by_score = weights * (by_weight - mean) * q.shape[-1] ** -0.5
        by_score, dropped = by_score.astype(q.dtype), dropped.astype(q.dtype)
        by_k, by_v = (jnp.swapaxes(x, -1, -2) for x in (by_score, dropped))
        return by_q + _mean(by_score, k), (by_k @ q, by_v @ gradient)

    numbers = functools.partial(_numbers_of_keys, (*q.shape[:3], k.shape[2]))
    mean = jnp.sum(gradient.astype(jnp.float32) * heads, axis=-1, keepdims=True)
    by_q, found = jax.lax.scan(
        block, jnp.zeros_like(q, jnp.float32), _blocks_of_keys(q.shape[:3], k, v, mask)
    )

    def joined(x):  # [blocks, B, H, keys, E] -> [B, H, K, E]
        x = jnp.moveaxis(x, 0, 2).reshape(*k.shape[:2], -1, k.shape[3])
        return x[:, :, : k.shape[2]]

    return by_q.astype(q.dtype), *map(joined, found)


def _blocks_of_keys(
    shape: tuple[int, ...], k: jax.Array, v: jax.Array, mask: jax.Array
) -> tuple[jax.Array, ...]:
    """Keys, values, mask and the first key's number of each block, which is on the first axis."""
    size = _keys((*shape, k.shape[2]))
    count = -(-k.shape[2] // size)

    def split(x: jax.Array, axis: int) -> jax.Array:
        widths = [(0, 0)] * x.ndim
        widths[axis] = (0, count * size - x.shape[axis])
        shape = (*x.shape[:axis], count, size, *x.shape[axis + 1 :])
        return jnp.moveaxis(jnp.pad(x, widths).reshape(shape), axis, 0)

    starts = size * jnp.arange(count, dtype=jnp.uint32)
    return split(k, 2), split(v, 2), split(mask, 3), starts


def _keys(shape: tuple[int, ...]) -> int:
    """How many keys of weights [B, H, Q, K] are in a block; about as many in each."""
    least = -(-4 * math.prod(shape) // _BYTES)
    return -(-shape[3] // min(least, shape[3]))


def _numbers_of_keys(shape: tuple[int, ...], start: jax.Array) -> jax.Array:
    """The numbers that the weights [B, H, Q, K] have, of a block of keys."""
    keys = _keys(shape)
    rows = _numbers((*shape[:3], 1)) * jnp.uint32(shape[3])
    return rows + start + jax.lax.iota(jnp.uint32, keys)[None, None, None]


def _mean(weights: jax.Array, values: jax.Array) -> jax.Array:
    """[..., Q, K] and [..., K, E] -> [..., Q, E] float32."""
    return jnp.matmul(weights, values, preferred_element_type=jnp.float32)


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
