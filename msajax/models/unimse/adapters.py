"""UniMSE's adapters: what follows a block of T5 and brings audio and vision in.

Each takes what the block gives and what its feed-forward layers have read, [B, L, D] both.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from msajax.nn.linear import Linear
from msajax.nn.positions import sinusoid
from msajax.nn.transformer import CrossmodalLayer


class Adapter(nn.Module):
    """Text with a vector of each signal behind it, through a bottleneck, and back to the text's width.

    Attributes:
      dim: width of the bottleneck.
      identity: whether the text passes through at first.
      parallel: the bottleneck is beside the feed-forward layers, not behind them: it reads
        what they read, and is added to what they give.
    """

    dim: int
    identity: bool = True
    parallel: bool = False

    @nn.compact
    def __call__(
        self, h: jax.Array, read: jax.Array, *, vectors: Sequence[jax.Array]
    ) -> jax.Array:
        """Adapts the hidden states.

        Args:
          h: [B, L, D], the output of a block.
          read: [B, L, D], the input of its feed-forward layers.
          vectors: [B, E] each.

        Returns:
          [B, L, D].
        """
        x, small = _joined(h, vectors), nn.initializers.normal(1e-3)
        y = _joined(read, vectors) if self.parallel else x
        y = nn.sigmoid(nn.Dense(self.dim, kernel_init=small, name="down")(y))
        x = x + nn.Dense(x.shape[-1], kernel_init=small, name="up")(y)
        return _last(h.shape[-1], x.shape[-1], identity=self.identity)(x)


class CrossAdapter(nn.Module):
    """Text with what it has read from the steps of each signal, by attention in a narrow space.

    Attributes:
      dim: width of the space.
      heads, layers: of each of the crossmodal Transformers, one for each signal.
      identity: as of `Adapter`.
    """

    dim: int
    heads: int
    layers: int
    identity: bool = True

    @nn.compact
    def __call__(
        self,
        h: jax.Array,
        read: jax.Array,
        *,
        steps: Sequence[tuple[jax.Array, jax.Array]],
        length: int,
        place: jax.Array | int = 0,
    ) -> jax.Array:
        """Adapts the hidden states.

        Args:
          h: [B, L, D], the output of a block.
          read: as of `Adapter`; not used.
          steps: of each signal its states [B, S, E] and which of them are real [B, S] bool.
          length: of the whole text.
          place: of h in it.

        Returns:
          [B, L, D].
        """
        del read
        text = Linear(self.dim, bias=False, name="text")(h)
        table = jnp.asarray(sinusoid(length, self.dim))
        text = _placed(text, jax.lax.dynamic_slice_in_dim(table, place, text.shape[1]))
        found = [h]
        for i, (x, mask) in enumerate(steps):
            x = Linear(self.dim, bias=False, name=f"signal_{i}")(x)
            x = _placed(x, jnp.asarray(sinusoid(x.shape[1], self.dim)))
            seen = jnp.broadcast_to(mask[:, None], (*h.shape[:2], x.shape[1]))
            y = text
            for j in range(self.layers):
                layer = CrossmodalLayer(self.heads, name=f"reader_{i}_{j}")
                y = layer(y, (x, x), mask=seen, train=False)
            found.append(y)
        x = jnp.concatenate(found, axis=-1)
        return _last(h.shape[-1], x.shape[-1], identity=self.identity)(x)


def _joined(h: jax.Array, vectors: Sequence[jax.Array]) -> jax.Array:
    """Hidden states [B, L, D] with vectors [B, E] behind each step: [B, L, D + E + ...]."""
    shape = h.shape[:2]
    wide = [jnp.broadcast_to(v[:, None], (*shape, v.shape[1])) for v in vectors]
    return jnp.concatenate([h, *(v.astype(h.dtype) for v in wide)], axis=-1)


def _placed(x: jax.Array, positions: jax.Array) -> jax.Array:
    """[B, L, D] scaled, with vectors of positions [L, D], as in MulT."""
    return x * x.shape[-1] ** 0.5 + positions[None].astype(x.dtype)


def _last(dim: int, width: int, *, identity: bool) -> nn.Module:
    """The layer from a width back to the text's, which passes the text on at first, or is random."""
    if not identity:
        return Linear(dim, name="out")
    init = nn.initializers.constant(np.eye(width, dim))
    return nn.Dense(dim, kernel_init=init, name="out")
