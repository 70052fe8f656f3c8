"""MPNet as an encoder: BERT's layers, with one table of relative positions for all of them.

Song et al., "MPNet: Masked and Permuted Pre-training for Language Understanding",
NeurIPS 2020. Of the paper's network this is what fine-tuning runs, without the
two-stream attention of pretraining. Parameter names are those of Hugging Face's
PyTorch MPNet, with Flax's names of leaves.
"""

import dataclasses
import functools
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from msajax.encoders.bert import (
    BertConfig,
    Embeddings,
    Intermediate,
    Output,
    Pooler,
    dense,
    layer_norm,
)
from msajax.encoders.layers import (
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
from msajax.encoders.relative import buckets
from msajax.nn.attention import attend
from msajax.nn.dropout import Dropout


@dataclasses.dataclass(frozen=True)
class MPNetConfig:
    """The network, by the names in a checkpoint's config.json; the defaults are mpnet-base's."""

    # Of MPNet's embeddings, as those of BERT read them.
    type_vocab_size: ClassVar[int] = 0
    padding_position: ClassVar[int] = 1

    vocab_size: Count = 30527
    hidden_size: Width = 768
    num_hidden_layers: Layers = 12
    num_attention_heads: Width = 12
    intermediate_size: Width = 3072
    max_position_embeddings: Count = 514
    layer_norm_eps: Epsilon = 1e-5
    hidden_act: str = "gelu"
    hidden_dropout_prob: Rate = 0.1
    attention_probs_dropout_prob: Rate = 0.1

    def __post_init__(self):
        check_heads(self.hidden_size, self.num_attention_heads)
        if self.max_length < 1:
            raise ValueError(
                f"max_position_embeddings is {self.max_position_embeddings}, but words "
                f"have positions from {self.padding_position + 1} on"
            )

    least_parameters = BertConfig.least_parameters
    max_length = BertConfig.max_length

    def encoder(self, **settings: Any) -> "MPNet":
        """An `MPNet` of this config."""
        return MPNet(self, **settings)


class MPNet(nn.Module):
    """The encoder.

    Attributes:
      config: of the network.
      pooler: has the layer that makes `pooled` from the first token.
      dtype: of the computation; None is the parameters'. Softmax and norms are
        float32.
      remat, scan: see `LayerStack`.
    """

    config: MPNetConfig = MPNetConfig()
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
          mask: [B, L] bool, real tokens. The padding id 1 takes no position.
          segments: not used: MPNet has none.
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
        words = mask & (ids != self.config.padding_position)
        x = Embeddings(self.config, self.dtype, name="embeddings")(
            ids, words, segments, train=train
        )
        dtype = self.dtype or x.dtype
        hidden = _Encoder(self.config, dtype, self.remat, self.scan, name="encoder")(
            x, mask, train=train, inject_after=inject_after, inject=inject
        )
        pooled = Pooler(dtype, name="pooler")(hidden[-1]) if self.pooler else None
        return Encoded(hidden, pooled)


class _Encoder(nn.Module):
    """The table of relative positions and the stack of layers."""

    config: MPNetConfig
    dtype: Any
    remat: bool
    scan: bool

    @nn.compact
    def __call__(self, x, mask, **kwargs):
        # Of 32, distances up to 128: the defaults, which no config of MPNet changes.
        shape = (32, self.config.num_attention_heads)
        table = nn.Embed(*shape, embedding_init=INIT, name="relative_attention_bias")
        steps = np.arange(x.shape[1])
        rows = table(jnp.asarray(buckets(steps[None] - steps[:, None])))
        bias = jnp.moveaxis(rows, 2, 0)[None]  # [1, H, L, L]

        def make_layer(**named):
            return _Layer(self.config, self.dtype, **named)

        length = self.config.num_hidden_layers
        stack = LayerStack(make_layer, length, self.remat, self.scan, name="layer")
        return stack(x, mask, bias, **kwargs)


class _Layer(nn.Module):
    config: MPNetConfig
    dtype: Any

    @nn.compact
    def __call__(self, x, mask, bias, *, train):
        config = self.config
        x = _Attention(config, self.dtype, name="attention")(x, mask, bias, train=train)
        h = Intermediate(config, self.dtype, name="intermediate")(x)
        return Output(config, self.dtype, name="output")(h, x, train=train)


class _Attention(nn.Module):
    config: MPNetConfig
    dtype: Any

    @nn.compact
    def __call__(self, x, mask, bias, *, train):
        config = self.config
        h = _SelfAttention(config, self.dtype, name="attn")(x, mask, bias, train=train)
        h = Dropout(config.hidden_dropout_prob, deterministic=not train)(h)
        return layer_norm(config, self.dtype)(h + x)


class _SelfAttention(nn.Module):
    config: MPNetConfig
    dtype: Any

    @nn.compact
    def __call__(self, x, mask, bias, *, train):
        width, heads = self.config.hidden_size, self.config.num_attention_heads

        def project(name: str) -> jax.Array:  # [B, L, D] -> [B, L, H, D/H]
            y = dense(width, self.dtype, name)(x)
            return y.reshape(*y.shape[:2], heads, -1)

        q, k, v = (project(name) for name in "qkv")
        rate = self.config.attention_probs_dropout_prob
        dropout = Dropout(rate, deterministic=False) if train and rate else None
        watched = self.is_mutable_collection("intermediates")
        sow = functools.partial(self.sow, "intermediates", "attention")
        visible = mask[:, None, None]
        see = sow if watched else None
        h = attend(q, k, v, mask=visible, bias=bias, dropout=dropout, see=see)
        return dense(width, self.dtype, "o")(h.reshape(x.shape))
