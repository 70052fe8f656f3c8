"""BERT, with the parameter names of Hugging Face's Flax BERT, and RoBERTa.

Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers for
Language Understanding", NAACL 2019. Hidden states can be changed between two
layers. RoBERTa (Liu et al., 2019) is the same network; it numbers positions
from its padding id.
"""

import dataclasses
import functools
from typing import Annotated, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from annotated_types import Ge

from msajax.encoders.layers import (
    ACTIVATIONS,
    INIT,
    Count,
    Encoded,
    Epsilon,
    Inject,
    Layers,
    LayerStack,
    Rate,
    Width,
    check_heads,
    check_length,
)
from msajax.nn.attention import attend
from msajax.nn.dropout import Dropout
from msajax.nn.embedding import Embed


@dataclasses.dataclass(frozen=True)
class BertConfig:
    """The network, by the names in a checkpoint's config.json; the defaults are bert-base-uncased's.

    Attributes:
      padding_position: RoBERTa's position of padding; real tokens have the
        positions after it. None is BERT: all tokens count from 0.
    """

    vocab_size: Count = 30522
    hidden_size: Width = 768
    num_hidden_layers: Layers = 12
    num_attention_heads: Width = 12
    intermediate_size: Width = 3072
    max_position_embeddings: Count = 512
    type_vocab_size: Count = 2
    layer_norm_eps: Epsilon = 1e-12
    hidden_act: str = "gelu"
    hidden_dropout_prob: Rate = 0.1
    attention_probs_dropout_prob: Rate = 0.1
    padding_position: Annotated[int, Ge(0)] | None = None

    def __post_init__(self):
        check_heads(self.hidden_size, self.num_attention_heads)
        if self.max_length < 1:
            raise ValueError(
                f"max_position_embeddings is {self.max_position_embeddings}, but words "
                f"have positions after that of padding, pad_token_id "
                f"{self.padding_position}"
            )

    @property
    def least_parameters(self) -> int:
        """Parameters of the layers' kernels and of the words: fewer than the network has."""
        width, wide = self.hidden_size, self.intermediate_size
        layer = width * (4 * width + 2 * wide)
        return self.vocab_size * width + self.num_hidden_layers * layer

    def encoder(self, **settings: Any) -> "Bert":
        """A `Bert` of this config."""
        return Bert(self, **settings)

    @property
    def max_length(self) -> int:
        """Longest sequence that has positions."""
        reserved = 0 if self.padding_position is None else self.padding_position + 1
        return self.max_position_embeddings - reserved


class Bert(nn.Module):
    """The encoder.

    Attributes:
      config: of the network.
      pooler: has the layer that makes `pooled` from the first token.
      dtype: of the computation; None is the parameters'. Softmax and norms are
        float32.
      remat, scan: see `LayerStack`.
    """

    config: BertConfig = BertConfig()
    pooler: bool = True
    dtype: Any = jnp.float32
    remat: bool = False
    scan: bool = False

    @nn.compact
    def __call__(
        self,
        ids: jax.Array,
        *,
        mask: jax.Array,
        segments: jax.Array | None = None,
        train: bool,
        inject_after: int | None = None,
        inject: Inject | None = None,
    ) -> Encoded:
        """Encodes word pieces.

        Args:
          ids: [B, L] int32; one beyond the vocabulary makes NaN.
          mask: [B, L] bool, real tokens.
          segments: [B, L] int32; None is segment 0.
          train: apply dropout.
          inject_after, inject: see `LayerStack`.

        Returns:
          Hidden states, [B, L, D] each, that of padding too, and `pooled`, tanh
          of a layer over the first token.

        Raises:
          ValueError: the sequence is longer than the table of positions, or
            there is no layer `inject_after`.
        """
        check_length(ids.shape[1], self.config.max_length)
        x = Embeddings(self.config, self.dtype, name="embeddings")(
            ids, mask, segments, train=train
        )
        dtype = self.dtype or x.dtype
        hidden = _Encoder(self.config, dtype, self.remat, self.scan, name="encoder")(
            x, mask, train=train, inject_after=inject_after, inject=inject
        )
        pooled = None
        if self.pooler:
            pooled = Pooler(dtype, name="pooler")(hidden[-1])
        return Encoded(hidden, pooled)


def dense(features: int, dtype: Any, name: str) -> nn.Dense:
    """A layer with BERT's initial values."""
    return nn.Dense(features, dtype=dtype, kernel_init=INIT, name=name)


def layer_norm(config: Any, dtype: Any) -> nn.LayerNorm:
    """The norm of every block, by BERT's name."""
    return nn.LayerNorm(
        config.layer_norm_eps, dtype=dtype, use_fast_variance=False, name="LayerNorm"
    )


def positions(mask: jax.Array, padding_position: int | None) -> jax.Array:
    """Rows of the table of positions, [B or 1, L]: from 0, or of real tokens alone, after that of padding."""
    if padding_position is None:
        return jnp.arange(mask.shape[1])[None]
    return jnp.where(mask, jnp.cumsum(mask, axis=1), 0) + padding_position


class Embeddings(nn.Module):
    """Words, segments where the network has any, and positions."""

    config: Any
    dtype: Any

    @nn.compact
    def __call__(self, ids, mask, segments, *, train):
        """[B, L] ids, their mask and segments (or None) -> [B, L, D]."""
        config = self.config

        def embed(rows: int, name: str, index: jax.Array) -> jax.Array:
            return Embed(rows, config.hidden_size, self.dtype, INIT, name=name)(index)

        words = embed(config.vocab_size, "word_embeddings", ids)
        # As PyTorch's padding_idx: what attends to padding does not move its vector.
        words = jnp.where(mask[..., None], words, jax.lax.stop_gradient(words))
        x = words
        if config.type_vocab_size:
            kinds = jnp.zeros_like(ids) if segments is None else segments
            x += embed(config.type_vocab_size, "token_type_embeddings", kinds)
        places = positions(mask, config.padding_position)
        x += embed(config.max_position_embeddings, "position_embeddings", places)
        x = layer_norm(config, self.dtype)(x)
        return Dropout(config.hidden_dropout_prob, deterministic=not train)(x)


class _Encoder(nn.Module):
    """Only the name above the stack of layers."""

    config: BertConfig
    dtype: Any
    remat: bool
    scan: bool

    @nn.compact
    def __call__(self, x, mask, **kwargs):
        def make_layer(**named):
            return _Layer(self.config, self.dtype, **named)

        length = self.config.num_hidden_layers
        stack = LayerStack(make_layer, length, self.remat, self.scan, name="layer")
        return stack(x, mask, **kwargs)


class _Layer(nn.Module):
    config: BertConfig
    dtype: Any

    @nn.compact
    def __call__(self, x, mask, *, train):
        config = self.config
        x = _Attention(config, self.dtype, name="attention")(x, mask, train=train)
        h = Intermediate(config, self.dtype, name="intermediate")(x)
        return Output(config, self.dtype, name="output")(h, x, train=train)


class _Attention(nn.Module):
    config: BertConfig
    dtype: Any

    @nn.compact
    def __call__(self, x, mask, *, train):
        h = _SelfAttention(self.config, self.dtype, name="self")(x, mask, train=train)
        return Output(self.config, self.dtype, name="output")(h, x, train=train)


class _SelfAttention(nn.Module):
    config: BertConfig
    dtype: Any

    @nn.compact
    def __call__(self, x, mask, *, train):
        heads = self.config.num_attention_heads

        def project(name: str) -> jax.Array:  # [B, L, D] -> [B, L, H, D/H]
            y = dense(self.config.hidden_size, self.dtype, name)(x)
            return y.reshape(*y.shape[:2], heads, -1)

        q, k, v = project("query"), project("key"), project("value")
        rate = self.config.attention_probs_dropout_prob
        dropout = Dropout(rate, deterministic=False) if train and rate else None
        watched = self.is_mutable_collection("intermediates")
        sow = functools.partial(self.sow, "intermediates", "attention")
        see = sow if watched else None
        h = attend(q, k, v, mask=mask[:, None, None], dropout=dropout, see=see)
        return h.reshape(x.shape)


class Intermediate(nn.Module):
    """The first, wide layer of a feed-forward block."""

    config: Any
    dtype: Any

    @nn.compact
    def __call__(self, x):
        """[B, L, D] -> [B, L, intermediate_size]."""
        h = dense(self.config.intermediate_size, self.dtype, "dense")(x)
        return ACTIVATIONS[self.config.hidden_act](h)


class Output(nn.Module):
    """A projection, added to the block's input and normalised."""

    config: Any
    dtype: Any

    @nn.compact
    def __call__(self, h, x, *, train):
        """[B, L, any] of the block and [B, L, D] of its input -> [B, L, D]."""
        h = dense(self.config.hidden_size, self.dtype, "dense")(h)
        h = Dropout(self.config.hidden_dropout_prob, deterministic=not train)(h)
        return layer_norm(self.config, self.dtype)(h + x)


class Pooler(nn.Module):
    """A layer over the first token."""

    dtype: Any

    @nn.compact
    def __call__(self, x):
        """[B, L, D] -> [B, D]."""
        return jnp.tanh(dense(x.shape[-1], self.dtype, "dense")(x[:, 0]))
