"""Multi-head attention with the parameters and initialisation of torch.nn.MultiheadAttention."""

import functools
from collections.abc import Callable
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from msajax.nn.dropout import Dropout
from msajax.nn.long_attention import attend_long

# Weights of one head from which it costs more to keep them for the backward pass than
# to compute them again: 128 x 128 steps.
LONG = 2**14


def masked_softmax(scores: jax.Array, mask: jax.Array) -> jax.Array:
    """Softmax over the visible keys; a query that sees none gets zeros, not NaN.

    Args:
      scores: [..., K] float32.
      mask: bool, True on visible keys; broadcasts to scores.

    Returns:
      An array like scores; each row sums to 1, or to 0.
    """
    chex.assert_is_broadcastable(mask.shape, scores.shape)
    weights = jax.nn.softmax(jnp.where(mask, scores, jnp.finfo(scores.dtype).min))
    return jnp.where(mask, weights, 0)


def watched(
    module: nn.Module, name: str = "attention"
) -> Callable[[jax.Array], object] | None:
    """`see` of `attend`: puts weights among the module's intermediates.

    None where nobody captures intermediates, so that long attention keeps no weights.
    """
    if not module.is_mutable_collection("intermediates"):
        return None
    return functools.partial(module.sow, "intermediates", name)


def attend(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    mask: jax.Array,
    bias: jax.Array | None = None,
    scale: float | None = None,
    dropout: Dropout | None = None,
    see: Callable[[jax.Array], object] | None = None,
) -> jax.Array:
    """Scaled dot-product attention.

    `jax.nn.dot_product_attention` is not used: cuDNN's kernel has no gradient for odd
    lengths and takes few masks with an axis of seeds in front, XLA's gradient is slower.

    Args:
      q: [B, Q, H, E].
      k, v: [B, K, H, E].
      mask: [B, 1, Q or 1, K] bool, True on visible keys.
      bias: [B or 1, H, Q, K] float32, added to the scores: of relative positions.
      scale: of the scores before the bias, E ** -0.5 without it.
      dropout: of attention weights, of a rate below 1.
      see: is given the weights, [B, H, Q, K] float32, before dropout.

    Returns:
      [B, Q, H, E]; zeros for a query that sees no key.
    """
    _assert_visible(q, k, mask)
    chex.assert_equal_shape([k, v])
    plain = see is None and bias is None and scale is None
    if plain and q.shape[1] * k.shape[1] > LONG:
        rate, words = 0.0, jnp.zeros(2, jnp.uint32)
        if dropout is not None and not dropout.deterministic:
            rate, words = dropout.rate, dropout.words()
        by_head = (jnp.swapaxes(x, 1, 2) for x in (q, k, v))
        return jnp.swapaxes(attend_long(*by_head, mask, words, rate), 1, 2)
    scores = jnp.einsum("bqhe,bkhe->bhqk", q, k, preferred_element_type=jnp.float32)
    scores *= q.shape[-1] ** -0.5 if scale is None else scale
    weights = masked_softmax(scores if bias is None else scores + bias, mask)
    if see is not None:
        see(weights)
    weights = weights.astype(v.dtype)
    if dropout is not None:
        weights = dropout(weights)
    return jnp.einsum("bhqk,bkhe->bqhe", weights, v)


def attend_few(
    q: jax.Array,
    key: jax.Array,
    value: jax.Array,
    key_kernel: jax.Array,
    value_kernel: jax.Array,
    *,
    mask: jax.Array,
    bias: jax.Array | None = None,
    dropout: Dropout | None = None,
    see: Callable[[jax.Array], object] | None = None,
) -> jax.Array:
    """Attention of few queries to many keys and values, which are not projected.

    The queries are projected to the keys' space, and the values are projected after they
    are averaged: products of Q H vectors with each key, not of H E. It is exact; a bias of
    the keys would add the same to all scores of a query, which the softmax does not see.

    Args:
      q: [B, Q, H, E], the projected queries.
      key, value: [B, K, D].
      key_kernel, value_kernel: [D, H, E], their projections.
      mask: [B, 1, Q or 1, K] bool, True on visible keys.
      bias: [H, E], of the values' projection.
      dropout: of attention weights, in training.
      see: as in `attend`.

    Returns:
      [B, Q, H, E]; zeros for a query that sees no key.
    """
    _assert_visible(q, key, mask)
    chex.assert_equal_shape_prefix([key, value], 2)
    q = jnp.einsum("bqhe,dhe->bqhd", q, key_kernel)
    scores = jnp.einsum("bqhd,bkd->bqhk", q, key, preferred_element_type=jnp.float32)
    seen = jnp.swapaxes(mask, 1, 2)  # [B, Q or 1, 1, K]
    weights = masked_softmax(scores * key_kernel.shape[-1] ** -0.5, seen)
    if see is not None:
        see(jnp.swapaxes(weights, 1, 2))
    weights = weights.astype(value.dtype)
    weights = weights if dropout is None else dropout(weights)
    mean = jnp.einsum("bqhk,bkd->bqhd", weights, value)
    heads = jnp.einsum("bqhd,dhe->bqhe", mean, value_kernel)
    if bias is None:
        return heads
    total = jnp.sum(weights, axis=-1, keepdims=True)  # not 1 under dropout
    return heads + total * bias[None, None]


def _assert_visible(queries: jax.Array, keys: jax.Array, mask: jax.Array) -> None:
    """Asserts that the mask fits queries [B, Q, ...] and keys [B, K, ...]."""
    chex.assert_equal_shape_prefix([queries, keys], 1)
    rows, count = queries.shape[:2]
    chex.assert_shape(mask, ({1, rows}, 1, {1, count}, keys.shape[1]))
    chex.assert_type(mask, bool)


class MultiHeadAttention(nn.Module):
    """Scaled dot-product attention in `heads` subspaces of the width.

    Its weights, [B, H, Q, K], are among its intermediates as 'attention'.

    Attributes:
      heads: number of heads H; divides the width.
      dropout: of attention weights.
    """

    heads: int
    dropout: float = 0.0

    @nn.compact
    def __call__(
        self,
        query: jax.Array,
        key: jax.Array | None = None,
        value: jax.Array | None = None,
        *,
        mask: jax.Array,
        train: bool,
    ) -> jax.Array:
        """Attends from query to key.

        Args:
          query: [B, Q, D] float32.
          key, value: [B, K, D] float32; without them query attends to itself.
          mask: [B, Q, K] bool, True on visible keys.
          train: apply dropout.

        Returns:
          [B, Q, D] float32.

        Raises:
          ValueError: the heads do not divide the width.
        """
        chex.assert_rank([query, mask], 3)
        if key is not None and value is not None:
            chex.assert_rank([key, value], 3)
            chex.assert_equal_shape([key, value])
        dim = query.shape[-1]
        if dim % self.heads:
            raise ValueError(
                f"{self.heads} heads do not divide a width of {dim}; set heads to a "
                "divisor of it"
            )
        # One kernel for the three projections: its fan-out of 3 D sets the scale
        # of PyTorch's xavier initialisation.
        shape = (3, self.heads, dim // self.heads)
        init = nn.initializers.variance_scaling(
            1.0, "fan_avg", "uniform", in_axis=0, out_axis=(1, 2, 3)
        )
        kernel = self.param("kernel", init, (dim, *shape))
        bias = self.param("bias", nn.initializers.zeros, shape)

        def project(x, first, last):
            # One flat product: XLA's CPU code is faster for it than for [B, L, D].
            rows = kernel[:, first:last].reshape(dim, -1)
            y = x.reshape(-1, dim) @ rows + bias[first:last].reshape(1, -1)
            y = y.reshape(*x.shape[:2], last - first, *shape[1:])
            return (y[:, :, i] for i in range(last - first))

        drops = train and self.dropout > 0
        dropout = Dropout(self.dropout, deterministic=False) if drops else None
        options: Any = dict(mask=mask[:, None], dropout=dropout, see=watched(self))
        if key is None or value is None:
            q, k, v = project(query, 0, 3)
            heads = attend(q, k, v, **options)
        elif query.shape[1] == 1 < key.shape[1]:
            (q,) = project(query, 0, 1)
            heads = attend_few(
                *(q, key, value, kernel[:, 1], kernel[:, 2]),
                bias=bias[2],
                **options,
            )
        else:
            inputs = (query, key, value)
            q, k, v = (h for i, x in enumerate(inputs) for h in project(x, i, i + 1))
            heads = attend(q, k, v, **options)
        # [B, Q, H, D/H] -> [B, Q, D]
        return nn.Dense(dim, kernel_init=nn.initializers.xavier_uniform(), name="out")(
            heads.reshape(query.shape)
        )
