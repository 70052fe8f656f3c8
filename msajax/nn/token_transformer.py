"""Transformers that gather a sequence in a few learned tokens.

Zhang et al., "Learning Language-guided Adaptive Hyper-modality Representation for
Multimodal Sentiment Analysis" (ALMT), EMNLP 2023, as in the authors' code
(models/almt_layer.py of Haoyu-ha/ALMT). Only what is read is computed: of the last
layer the tokens, and of the fusion its one token.
"""

from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from msajax.nn.activations import gelu
from msajax.nn.attention import attend, attend_few, watched
from msajax.nn.linear import Linear, uniform
from msajax.nn.masks import assert_steps
from msajax.nn.norm import LayerNorm

# Activations of a feed-forward block; PyTorch's GELU is the exact one.
ACTIVATIONS = {"gelu": gelu, "relu": nn.relu}


class PreNormAttention(nn.Module):
    """Attention behind three LayerNorms, of queries, keys and values.

    Attributes:
      heads: number of heads H.
      head_dim: width E of each; H E need not be the sequence's width.
    """

    heads: int
    head_dim: int = 64

    @nn.compact
    def __call__(self, x: jax.Array, source: jax.Array, *, mask: jax.Array):
        """[B, Q, D] attends to source [B, K, D], mask [B, K] bool -> [B, Q, D]."""
        assert_steps(source, mask)
        chex.assert_rank(x, 3)
        (queries, dim), keys = x.shape[1:], source.shape[1]
        shape = (dim, self.heads, self.head_dim)
        inputs = {"query": x, "key": source, "value": source}
        kernels = [self.param(name, uniform(dim), shape) for name in inputs]
        q, k, v = (LayerNorm(name=f"{m}_norm")(h) for m, h in inputs.items())
        options: Any = dict(mask=mask[:, None, None], see=watched(self))
        # Projections of keys and values cost K E, carried queries Q (E + K).
        if queries * (self.head_dim + keys) < keys * self.head_dim:
            heads = attend_few(_project(q, kernels[0]), k, v, *kernels[1:], **options)
        else:
            heads = attend(*map(_project, (q, k, v), kernels), **options)
        return out_layer(heads, dim)


def out_layer(heads: jax.Array, dim: int) -> jax.Array:
    """The output layer 'out' of the calling module: [B, Q, H, E] -> [B, Q, dim].

    A single head of that width has none, as in the authors' code.
    """
    chex.assert_rank(heads, 4)
    flat = heads.reshape(*heads.shape[:2], -1)
    return flat if heads.shape[2:] == (1, dim) else Linear(dim, name="out")(flat)


def _project(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """[B, L, D], [D, H, E] -> [B, L, H, E]."""
    dim, *heads = kernel.shape
    # One flat product: XLA's CPU code is faster for it than for [B, L, D].
    return (x.reshape(-1, dim) @ kernel.reshape(dim, -1)).reshape(*x.shape[:2], *heads)


class PreNormEncoder(nn.Module):
    """A stack of attention and feed-forward blocks; no LayerNorm behind it.

    Attributes:
      layers: number of layers.
      heads: of every attention.
      mlp_dim: width of the feed-forward blocks.
      head_dim: width of each head; the authors' 64 whatever the sequence's width.
      activation: of the feed-forward blocks, a name in `ACTIVATIONS`.
    """

    layers: int
    heads: int
    mlp_dim: int
    head_dim: int = 64
    activation: str = "gelu"

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        source: jax.Array | None = None,
        *,
        mask: jax.Array,
        queries: int | None = None,
    ) -> list[jax.Array]:
        """Encodes a sequence.

        Args:
          x: [B, L, D] float32.
          source: [B, K, D], what every layer attends to; None is the sequence itself.
          mask: [B, K] bool, real steps of the source.
          queries: of the last layer; it computes so many first steps, None is all.

        Returns:
          [B, L, D] of the input and behind each layer; of the last [B, queries, D].
        """
        hidden = [x]
        for i in range(self.layers):
            keys = x if source is None else source
            x = x[:, :queries] if i == self.layers - 1 else x
            attention = PreNormAttention(
                self.heads, self.head_dim, name=f"attention_{i}"
            )
            x += attention(x, keys, mask=mask)
            h = LayerNorm(name=f"norm_{i}")(x)
            h = Linear(self.mlp_dim, name=f"fc1_{i}")(h)
            h = ACTIVATIONS[self.activation](h)
            x += Linear(x.shape[-1], name=f"fc2_{i}")(h)
            hidden.append(x)
        return hidden


class TokenTransformer(nn.Module):
    """Learned tokens in front of a sequence, encoded with it.

    Attributes:
      tokens: number of tokens n.
      length: longest sequence of the data.
      layers, heads, mlp_dim, head_dim, activation: see `PreNormEncoder`.
    """

    tokens: int
    length: int
    layers: int = 1
    heads: int = 8
    mlp_dim: int = 128
    head_dim: int = 64
    activation: str = "gelu"

    @nn.compact
    def __call__(
        self, x: jax.Array, mask: jax.Array, *, whole: bool = False
    ) -> jax.Array:
        """Encodes the tokens.

        Args:
          x: [B, L, D] float32, L at most `length`.
          mask: [B, L] bool, the steps that are attended to.
          whole: return the sequence behind the tokens too.

        Returns:
          [B, n, D], or [B, n + L, D]; padded steps hold values of no meaning.
        """
        assert_steps(x, mask)
        rows, length, dim = x.shape
        n = self.tokens
        tokens = self.param("tokens", nn.initializers.zeros, (n, dim))
        shape = (n + self.length, dim)
        positions = self.param("positions", nn.initializers.normal(1.0), shape)
        h = _with_tokens(tokens, x) + positions[None, : n + length]
        encoder = PreNormEncoder(
            *(self.layers, self.heads, self.mlp_dim, self.head_dim, self.activation),
            name="encoder",
        )
        mask = jnp.concatenate([jnp.ones((rows, n), bool), mask], axis=1)
        h = encoder(h, mask=mask, queries=None if whole else n)[-1]
        return h if whole else h[:, :n]


class TokenFusion(nn.Module):
    """One learned token that reads others in layers of cross-attention.

    In the authors' CrossTransformer a target sequence stands behind that token. Its
    steps do not see each other, and the token alone is read: so the target has no
    influence on anything, and there is none here.

    Attributes:
      layers, heads, mlp_dim, head_dim, activation: see `PreNormEncoder`.
    """

    layers: int
    heads: int = 8
    mlp_dim: int = 128
    head_dim: int = 64
    activation: str = "gelu"

    @nn.compact
    def __call__(self, source: jax.Array) -> jax.Array:
        """[B, n, D] -> [B, D]."""
        chex.assert_rank(source, 3)
        rows, n, dim = source.shape
        normal = nn.initializers.normal(1.0)
        token = self.param("token", nn.initializers.zeros, (1, dim))
        position = self.param("position", normal, (1, dim))
        source_positions = self.param("source_positions", normal, (1 + n, dim))
        source = _with_tokens(token, source) + source_positions[None]
        x = jnp.broadcast_to((token + position)[None], (rows, 1, dim))
        encoder = PreNormEncoder(
            *(self.layers, self.heads, self.mlp_dim, self.head_dim, self.activation),
            name="encoder",
        )
        return encoder(x, source, mask=jnp.ones((rows, 1 + n), bool))[-1][:, 0]


def _with_tokens(tokens: jax.Array, x: jax.Array) -> jax.Array:
    """[n, D] in front of [B, L, D]."""
    tokens = jnp.broadcast_to(tokens[None], (x.shape[0], *tokens.shape))
    return jnp.concatenate([tokens, x], axis=1)
