"""MPNet as an encoder: BERT's layers, with one table of relative positions for all of them.

Song et al., "MPNet: Masked and Permuted Pre-training for Language Understanding",
NeurIPS 2020. Of the paper's network this is what fine-tuning runs, without the
two-stream attention of pretraining. Parameter names are those of Hugging Face's
PyTorch MPNet, with Flax's names of leaves.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from msajax.encoders import hf_config
from msajax.encoders.body import (
    BodyConfig,
    LayersOf,
    SelfAttention,
    TextEncoder,
)
from msajax.encoders.layers import (
    ACTIVATIONS,
    INIT,
    Count,
    Epsilon,
    dense,
    layer_norm,
)
from msajax.encoders.relative import buckets
from msajax.nn.dropout import Dropout
from msajax.nn.embedding import Embed
from msajax.weights.mpnet import table
from msajax.weights.table import Table

# Source: MPNetEmbeddings, whatever the config says.
PADDING = 1


@dataclasses.dataclass(frozen=True)
class MPNetConfig(BodyConfig):
    """The network, by the names in a checkpoint's config.json; the defaults are mpnet-base's."""

    kinds: ClassVar[tuple[str, ...]] = ("mpnet",)

    vocab_size: Count = 30527
    max_position_embeddings: Count = 514
    type_vocab_size: int = 0
    layer_norm_eps: Epsilon = 1e-5
    padding_position: int | None = PADDING

    def __post_init__(self):
        super().__post_init__()
        if (self.type_vocab_size, self.padding_position) != (0, PADDING):
            raise ValueError(
                f"type_vocab_size is {self.type_vocab_size} and padding_position "
                f"{self.padding_position}, but MPNet has no segments, and its padding "
                f"takes position {PADDING}; leave both as they are"
            )

    @classmethod
    def read(cls, facts: Mapping[str, Any]) -> "MPNetConfig":
        """The config by config.json's settings.

        Raises:
          ValueError: a setting is missing or is not supported.
        """
        supported = {
            "hidden_act": tuple(ACTIVATIONS),
            "relative_attention_num_buckets": (32,),
        }
        return hf_config.read(
            cls,
            {"layer_norm_eps": 1e-12} | dict(facts),  # as transformers
            supported=supported,
            type_vocab_size=0,
            padding_position=PADDING,
        )

    def encoder(self, **settings: Any) -> "MPNet":
        """An `MPNet` of this config."""
        return MPNet(self, **settings)


class _SelfAttention(SelfAttention):
    @nn.compact
    def __call__(self, x, mask, bias, *, train):
        q, k, v = (self.projection(name)(x) for name in "qkv")
        h = self.attend(q, k, v, mask=mask[:, None, None], bias=bias, train=train)
        return dense(self.config.hidden_size, self.dtype, "o")(h)


class _Attention(nn.Module):
    config: MPNetConfig
    dtype: Any

    @nn.compact
    def __call__(self, x, *context, train):
        config = self.config
        h = _SelfAttention(config, self.dtype, name="attn")(x, *context, train=train)
        h = Dropout(config.hidden_dropout_prob, deterministic=not train)(h)
        return layer_norm(config.layer_norm_eps, self.dtype, "LayerNorm")(h + x)


class _Layers(LayersOf):
    attention = _Attention

    def shared(self, length):
        """The bias of relative positions, [1, H, L, L]."""
        # Of 32, distances up to 128: the defaults, which no config of MPNet changes.
        shape = (32, self.config.num_attention_heads)
        table = Embed(*shape, embedding_init=INIT, name="relative_attention_bias")
        steps = np.arange(length)
        rows = table(jnp.asarray(buckets(steps[None] - steps[:, None])))
        return (jnp.moveaxis(rows, 2, 0)[None],)


class MPNet(TextEncoder):
    """The encoder; `pooled` is tanh of a layer over the first token."""

    config: MPNetConfig = MPNetConfig()

    layers = _Layers

    def names(self) -> Table:
        """Its parameters by their names in PyTorch's files."""
        return table(self)

    def embed(self, ids, mask, segments, *, train):
        """The input of the layers, [B, L, D]; the padding id takes no position."""
        return super().embed(ids, mask & (ids != PADDING), segments, train=train)
