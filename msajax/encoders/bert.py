"""BERT, with the parameter names of Hugging Face's Flax BERT, RoBERTa and ELECTRA.

Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers for
Language Understanding", NAACL 2019. Hidden states can be changed between two
layers. RoBERTa (Liu et al., 2019) is the same network; it numbers positions
from its padding id. ELECTRA (Clark et al., ICLR 2020) is it too, with narrower
vectors of words and without a pooler, so that the pooler here starts untrained.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import flax.linen as nn

from msajax.encoders import hf_config
from msajax.encoders.body import (
    Attention,
    BodyConfig,
    LayersOf,
    SelfAttention,
    TextEncoder,
)
from msajax.encoders.layers import ACTIVATIONS, Width, dense
from msajax.weights.bert import table
from msajax.weights.table import Table


@dataclasses.dataclass(frozen=True)
class BertConfig(BodyConfig):
    """The network, by the names in a checkpoint's config.json; the defaults are bert-base-uncased's.

    Attributes:
      embedding_size: ELECTRA's width of the vectors of words, where it is another than
        hidden_size.
    """

    kinds: ClassVar[tuple[str, ...]] = ("bert", "roberta", "xlm-roberta", "electra")

    embedding_size: Width | None = None

    @property
    def embedding_width(self) -> int:
        """Width of the vectors of words."""
        return self.embedding_size or self.hidden_size

    @classmethod
    def read(cls, facts: Mapping[str, Any]) -> "BertConfig":
        """The config by config.json's settings.

        Raises:
          ValueError: a setting is missing or is not supported.
        """
        kind, padding, width = facts.get("model_type", "bert"), None, None
        if "roberta" in kind:
            padding = hf_config.whole(facts, "pad_token_id", 1)
        if kind == "electra":
            width = hf_config.whole(facts, "embedding_size", 128)
        return hf_config.read(
            cls,
            facts,
            supported={
                "hidden_act": tuple(ACTIVATIONS),
                "position_embedding_type": ("absolute",),
                "is_decoder": (False,),
            },
            padding_position=padding,
            embedding_size=width,
        )

    def encoder(self, **settings: Any) -> "Bert":
        """A `Bert` of this config."""
        return Bert(self, **settings)


class _SelfAttention(SelfAttention):
    @nn.compact
    def __call__(self, x, mask, *, train):
        q, k, v = (self.projection(name)(x) for name in ("query", "key", "value"))
        return self.attend(q, k, v, mask=mask[:, None, None], train=train)


class _Attention(Attention):
    inner = _SelfAttention


class _Layers(LayersOf):
    attention = _Attention


class Bert(TextEncoder):
    """The encoder; `pooled` is tanh of a layer over the first token."""

    config: BertConfig = BertConfig()

    layers = _Layers

    def names(self) -> Table:
        """Its parameters by their names in PyTorch's files."""
        return table(self)

    def embed(self, ids, mask, segments, *, train):
        """The input of the layers, [B, L, D]."""
        x = super().embed(ids, mask, segments, train=train)
        if self.config.embedding_width == self.config.hidden_size:
            return x
        return dense(self.config.hidden_size, self.dtype, "embeddings_project")(x)
