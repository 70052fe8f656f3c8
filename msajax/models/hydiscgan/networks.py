"""HyDiscGAN's networks: generators, discriminators, and the decoder of both generators and fusion."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from msajax.nn.attention import MultiHeadAttention
from msajax.nn.dropout import Dropout
from msajax.nn.linear import FeedForward, Linear
from msajax.nn.masks import visible
from msajax.nn.norm import LayerNorm
from msajax.nn.pooling import mean_pool
from msajax.nn.post_norm import PostNormLayer


def each(apply: Callable, module: nn.Module, *arrays: jax.Array) -> jax.Array:
    """A module with parameters of its own for each modality: arrays [M, ...] -> [M, ...].

    Compiled once, not once a modality: parameters have a leading axis [M].
    """
    mapped = nn.vmap(
        apply,
        variable_axes={"params": 0, "intermediates": 0},
        split_rngs={"params": True, "dropout": True},
    )
    return mapped(module, *arrays)


class Decoder(nn.Module):
    """Layers in which a sequence reads another, then itself."""

    layers: int
    heads: int
    hidden: int
    dropout: float

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        source: jax.Array,
        *,
        masks: tuple[jax.Array, jax.Array],
        train: bool,
    ) -> jax.Array:
        """[B, Q, D], [B, K, D], masks of both, [B, Q] and [B, K] bool -> [B, Q, D]."""
        own, keys = (visible(masks[0], mask, causal=False) for mask in masks)
        drop = Dropout(self.dropout, deterministic=not train)
        sizes = self.heads, self.hidden, self.dropout
        for i in range(self.layers):
            read = MultiHeadAttention(self.heads, self.dropout, name=f"read_{i}")
            x += drop(read(x, source, source, mask=keys, train=train))
            x = LayerNorm(name=f"norm_{i}")(x)
            x = PostNormLayer(*sizes, name=f"layer_{i}")(x, mask=own, train=train)
        return x


class Generator(nn.Module):
    """Learned queries, beside noise, that read a sequence in a Transformer decoder."""

    steps: int
    layers: int
    heads: int
    hidden: int
    dropout: float

    @nn.compact
    def __call__(
        self, x: jax.Array, mask: jax.Array, noise: jax.Array, *, train: bool
    ) -> jax.Array:
        """[B, L, D], [B, L] bool, [B, steps, D] -> [B, steps, D]."""
        shape = self.steps, x.shape[-1]
        queries = self.param("queries", nn.initializers.normal(1.0), shape)
        h = queries[None] + noise
        sizes = self.layers, self.heads, self.hidden, self.dropout
        masks = jnp.ones(h.shape[:2], bool), mask
        return Decoder(*sizes, name="decoder")(h, x, masks=masks, train=train)


class Real(nn.Module):
    """Real features at the width of generated ones."""

    dim: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, L, D] -> [B, L, dim]."""
        return LayerNorm(name="norm")(Linear(self.dim, name="project")(x))


class Discriminator(nn.Module):
    """A Transformer, and a logit of its mean beside the vector of the text."""

    out_dim: int
    layers: int
    heads: int
    hidden: int
    dropout: float

    @nn.compact
    def __call__(
        self, x: jax.Array, mask: jax.Array, text: jax.Array, *, train: bool
    ) -> jax.Array:
        """[B, L, dim], [B, L] bool, [B, D] -> [B] float32, large for what looks real."""
        keys = visible(mask, mask, causal=False)
        for i in range(self.layers):
            layer = PostNormLayer(
                self.heads, self.hidden, self.dropout, name=f"layer_{i}"
            )
            x = layer(x, mask=keys, train=train)
        both = jnp.concatenate([mean_pool(x, mask), text], axis=-1)
        head = FeedForward(self.out_dim, 1, self.dropout, name="out")
        return head(both, train=train)[..., 0].astype(jnp.float32)
