"""The body of the text encoders: embeddings, layers and a pooler, as BERT has them.

MPNet and DeBERTa differ from BERT in their attention and in what their layers share,
XLNet in more; all have the interface of `TextEncoder`. Parameter names are those of
Hugging Face's networks.
"""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from annotated_types import Ge, Le

from msajax.encoders.layers import (
    ACTIVATIONS,
    INIT,
    Context,
    Count,
    Encoded,
    Epsilon,
    Injects,
    Join,
    Layers,
    LayerStack,
    Places,
    Rate,
    Width,
    attend_watched,
    check_heads,
    check_length,
    dense,
    layer_norm,
)
from msajax.nn.dropout import Dropout
from msajax.nn.embedding import Embed


@dataclasses.dataclass(frozen=True)
class BodyConfig:
    """What BERT, MPNet and DeBERTa have, by the names in a checkpoint's config.json.

    Attributes:
      type_vocab_size: number of segments; 0 is a network without any.
      padding_position: the position of padding; real tokens have the positions after
        it. None is BERT: all tokens count from 0.
    """

    summary: ClassVar[str] = "first"  # see `summary_steps`

    vocab_size: Count = 30522
    hidden_size: Width = 768
    num_hidden_layers: Layers = 12
    num_attention_heads: Width = 12
    intermediate_size: Width = 3072
    max_position_embeddings: Count = 512
    type_vocab_size: Annotated[int, Ge(0), Le(2**24)] = 2
    layer_norm_eps: Epsilon = 1e-12
    hidden_act: str = "gelu"
    hidden_dropout_prob: Rate = 0.1
    attention_probs_dropout_prob: Rate = 0.1
    padding_position: Annotated[int, Ge(0)] | None = None

    def __post_init__(self):
        check_heads(self.hidden_size, self.num_attention_heads)
        if self.max_length is not None and self.max_length < 1:
            raise ValueError(
                f"max_position_embeddings is {self.max_position_embeddings}, but words "
                f"have positions after that of padding, pad_token_id "
                f"{self.padding_position}"
            )

    @property
    def embedding_width(self) -> int:
        """Width of the vectors of words."""
        return self.hidden_size

    @property
    def has_segments(self) -> bool:
        """Whether two texts of a sequence can be told apart by their segments."""
        return self.type_vocab_size > 1

    @property
    def least_parameters(self) -> int:
        """Parameters of the layers' kernels and of the embeddings: fewer than the network has."""
        width, wide = self.hidden_size, self.intermediate_size
        layer = width * (4 * width + 2 * wide)
        rows = self.vocab_size + self.type_vocab_size
        rows += self.max_position_embeddings if self.max_length is not None else 0
        return rows * self.embedding_width + self.num_hidden_layers * layer

    @property
    def max_length(self) -> int | None:
        """Longest sequence that has positions; None where any has."""
        reserved = 0 if self.padding_position is None else self.padding_position + 1
        return self.max_position_embeddings - reserved


class TextEncoder(nn.Module):
    """An encoder of word pieces; the methods are BERT's where a subclass has no other.

    Attributes:
      config: of the network.
      pooler: return `pooled`, with the layer that makes it, where there is one.
      dtype: of the computation; None is the parameters'. Softmax and norms are
        float32.
      remat, scan: see `LayerStack`.
    """

    config: Any
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
        inject_after: Places | None = None,
        inject: Injects | None = None,
    ) -> Encoded:
        """Encodes word pieces.

        Args:
          ids: [B, L] int32; one beyond the vocabulary makes NaN.
          mask: [B, L] bool, real tokens.
          segments: [B, L] int32, not read by a network that has none; None is segment 0
            (XLNet: no term of segments, of which it reads only whether they are equal).
          train: apply dropout.
          inject_after, inject: see `LayerStack`.

        Returns:
          Hidden states, [B, L, D] each, that of padding too, and `pooled`, which is
          of the first token (XLNet: the last).

        Raises:
          ValueError: the sequence is longer than the table of positions, or
            there is no layer `inject_after`.
        """
        check_length(ids.shape[1], self.config.max_length)
        x = self.embed(ids, mask, segments, train=train)
        injection = dict(inject_after=inject_after, inject=inject)
        hidden = self.run(x, mask, segments, train=train, **injection)
        return Encoded(hidden, self.pool(hidden[-1], mask) if self.pooler else None)

    def embed(self, ids, mask, segments, *, train, positions=True) -> jax.Array:
        """The input of the layers, [B, L, D]; `positions` is whether it knows any."""
        table = Embeddings(self.config, self.dtype, positions, name="embeddings")
        return table(ids, mask, segments, train=train)

    def run(self, x, mask, segments, *, train, **injection) -> tuple[jax.Array, ...]:
        """All hidden states, x first."""
        del segments
        dtype = self.dtype or x.dtype
        layers = self.layers(self.config, dtype, self.remat, self.scan, name="encoder")
        return layers(x, mask, train=train, **injection)

    def pool(self, last, mask) -> jax.Array:
        """The vector of a sequence, [B, D], from the last hidden state."""
        del mask
        return Pooler(self.dtype or last.dtype, name="pooler")(last)

    layers: ClassVar[type["LayersOf"]]


class LayersOf(nn.Module):
    """The stack of layers, under the name 'encoder', with what all layers share.

    A subclass says which block of attention a layer has, `attention`.
    """

    config: Any
    dtype: Any
    remat: bool
    scan: bool

    attention: ClassVar[type[nn.Module]]

    @nn.compact
    def __call__(self, x, mask, *, train, **injection):
        """[B, L, D] and [B, L] bool -> hidden states, as of `LayerStack`."""

        def make_layer(**named):
            return _Layer(self.config, self.dtype, self.attention, **named)

        length = self.config.num_hidden_layers
        stack = LayerStack(make_layer, length, self.remat, self.scan, name="layer")
        context = (mask, *self.shared(x.shape[1]))
        join = self.behind_first(mask, train=train)
        return stack(x, *context, train=train, behind_first=join, **injection)

    def shared(self, length: int) -> Context:
        """Further inputs of every layer's attention, for sequences of a length."""
        del length
        return ()

    def behind_first(self, mask: jax.Array, *, train: bool) -> Join | None:
        """As of `LayerStack`."""
        del mask, train
        return None


class _Layer(nn.Module):
    config: Any
    dtype: Any
    attention: type[nn.Module]

    @nn.compact
    def __call__(self, x, *context, train):
        block: Any = self.attention(self.config, self.dtype, name="attention")
        x = block(x, *context, train=train)
        h = _Intermediate(self.config, self.dtype, name="intermediate")(x)
        return Output(self.config, self.dtype, name="output")(h, x, train=train)


class Attention(nn.Module):
    """The block of attention of BERT and DeBERTa, around the attention `inner`."""

    config: Any
    dtype: Any

    inner: ClassVar[type[nn.Module]]

    @nn.compact
    def __call__(self, x, *context, train):
        """[B, L, D] and the context of a layer -> [B, L, D]."""
        inner: Any = self.inner(self.config, self.dtype, name="self")
        h = inner(x, *context, train=train)
        return Output(self.config, self.dtype, name="output")(h, x, train=train)


class SelfAttention(nn.Module):
    """What the attentions of the encoders share: heads, dropout, a look at the weights."""

    config: Any
    dtype: Any

    def projection(self, name: str) -> Callable[[jax.Array], jax.Array]:
        """A layer to the heads: [..., D] -> [..., H, D/H]."""
        layer = dense(self.config.hidden_size, self.dtype, name)

        def project(x: jax.Array) -> jax.Array:
            y = layer(x)
            return y.reshape(*y.shape[:-1], self.config.num_attention_heads, -1)

        return project

    def attend(self, q, k, v, *, mask, train, bias=None) -> jax.Array:
        """As `nn.attention.attend`, with heads joined: [B, L, D]."""
        rate = self.config.attention_probs_dropout_prob
        dropout = Dropout(rate, deterministic=False) if train and rate else None
        return attend_watched(self, q, k, v, mask=mask, bias=bias, dropout=dropout)


def positions(mask: jax.Array, padding_position: int | None) -> jax.Array:
    """Rows of the table of positions, [B or 1, L]: from 0, or of real tokens alone, after that of padding."""
    if padding_position is None:
        return jnp.arange(mask.shape[1])[None]
    return jnp.where(mask, jnp.cumsum(mask, axis=1), 0) + padding_position


class Embeddings(nn.Module):
    """Words, and segments and positions where the network has any."""

    config: Any
    dtype: Any
    positions: bool = True

    @nn.compact
    def __call__(self, ids, mask, segments, *, train):
        """[B, L] ids, their mask and segments (or None) -> [B, L, embedding_width]."""
        config, width = self.config, self.config.embedding_width

        def embed(rows: int, name: str, index: jax.Array) -> jax.Array:
            return Embed(rows, width, self.dtype, INIT, name=name)(index)

        words = embed(config.vocab_size, "word_embeddings", ids)
        # As PyTorch's padding_idx: what attends to padding does not move its vector.
        x = jnp.where(mask[..., None], words, jax.lax.stop_gradient(words))
        if config.type_vocab_size:
            kinds = jnp.zeros_like(ids) if segments is None else segments
            x += embed(config.type_vocab_size, "token_type_embeddings", kinds)
        if self.positions:
            places = positions(mask, config.padding_position)
            x += embed(config.max_position_embeddings, "position_embeddings", places)
        x = layer_norm(config.layer_norm_eps, self.dtype, "LayerNorm")(x)
        return Dropout(config.hidden_dropout_prob, deterministic=not train)(x)


class _Intermediate(nn.Module):
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
        return layer_norm(self.config.layer_norm_eps, self.dtype, "LayerNorm")(h + x)


class Pooler(nn.Module):
    """A layer over the first token.

    Attributes:
      dtype: of the computation.
      activation: behind the layer, by its name in a config.json.
    """

    dtype: Any
    activation: str = "tanh"

    @nn.compact
    def __call__(self, x):
        """[B, L, D] -> [B, D]."""
        h = dense(x.shape[-1], self.dtype, "dense")(x[:, 0])
        return ACTIVATIONS[self.activation](h)
