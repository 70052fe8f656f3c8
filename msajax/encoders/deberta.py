"""DeBERTa of versions 2 and 3 as an encoder: attention of contents and distances apart.

He et al., "DeBERTa: Decoding-enhanced BERT with Disentangled Attention", ICLR 2021, and
"DeBERTaV3: Improving DeBERTa using ELECTRA-Style Pre-Training with Gradient-Disentangled
Embedding Sharing", ICLR 2023. Of the papers' networks this is the encoder, without the
heads of pretraining. Both terms of positions go by the distance from key to query, where
the first paper writes that from query to key for one of them: the checkpoints are trained
so. A padded query attends to all steps alike. Parameter names are those of Hugging Face's
PyTorch DeBERTa-v2, with Flax's names of leaves.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Le

from msajax.encoders import hf_config
from msajax.encoders.body import (
    Attention,
    BodyConfig,
    LayersOf,
    Pooler,
    SelfAttention,
    TextEncoder,
)
from msajax.encoders.layers import ACTIVATIONS, INIT, Count, Epsilon, by_key, layer_norm
from msajax.nn.dropout import Dropout
from msajax.nn.embedding import Embed
from msajax.weights.deberta import table
from msajax.weights.table import Table

# What transformers takes where a config.json of DeBERTa does not say.
# Source: DebertaV2Config and modeling_deberta_v2.py.
_DEFAULTS = {
    "relative_attention": False,
    "max_relative_positions": -1,
    "position_buckets": -1,
    "norm_rel_ebd": "none",
    "share_att_key": False,
    "position_biased_input": True,
    "pos_att_type": None,
    "conv_kernel_size": 0,
    "conv_act": "tanh",
    "pooler_hidden_act": "gelu",
}


@dataclasses.dataclass(frozen=True)
class DebertaConfig(BodyConfig):
    """The network, by the names in a checkpoint's config.json; the defaults are deberta-v3-base's.

    Attributes:
      relative_attention: there is a table of distances, which all layers share.
      max_relative_positions: distances from which on all are one; below 1 it is
        max_position_embeddings.
      position_buckets: distances beyond half of it share rows of the table by their
        logarithm; below 1 each has its own.
      norm_rel_ebd: "layer_norm" normalises the table.
      share_att_key: distances have the projections of the contents.
      pos_att_type: terms of the scores: of a query's content and the distance ("c2p"),
        and of the distance and a key's content ("p2c").
      position_biased_input: absolute positions are added to the words.
      conv_kernel_size: width of a convolution over the embeddings, which is added to
        the first layer's output; 0 is none.
      conv_act, pooler_hidden_act: its activation, and that of the pooler.
    """

    kinds: ClassVar[tuple[str, ...]] = ("deberta-v2",)

    vocab_size: Count = 128100
    type_vocab_size: Annotated[int, Ge(0), Le(2**24)] = 0
    layer_norm_eps: Epsilon = 1e-7
    relative_attention: bool = True
    max_relative_positions: Annotated[int, Le(2**17)] = -1
    position_buckets: Annotated[int, Le(2**17)] = 256
    norm_rel_ebd: str = "layer_norm"
    share_att_key: bool = True
    pos_att_type: tuple[Literal["c2p", "p2c"], ...] = ("p2c", "c2p")
    position_biased_input: bool = False
    conv_kernel_size: Annotated[int, Ge(0), Le(1023)] = 0
    conv_act: str = "tanh"
    pooler_hidden_act: str = "gelu"

    def __post_init__(self):
        super().__post_init__()
        if self.conv_kernel_size and self.conv_kernel_size % 2 == 0:
            raise ValueError(
                f"conv_kernel_size is {self.conv_kernel_size}, but only an odd number "
                "keeps the length of a sequence"
            )
        some = self.has_distances and self.position_buckets > 0
        if some and not 1 <= self.position_buckets // 2 < self.farthest - 1:
            raise ValueError(
                f"position_buckets is {self.position_buckets}, but from 2 on and less "
                f"than twice the {self.farthest} positions (max_relative_positions, "
                "max_position_embeddings) are possible"
            )

    @property
    def max_length(self) -> int | None:
        """Longest sequence that has positions; None where any has."""
        return self.max_position_embeddings if self.position_biased_input else None

    @property
    def has_distances(self) -> bool:
        """Whether the scores have terms of positions."""
        return self.relative_attention and bool(self.pos_att_type)

    @property
    def farthest(self) -> int:
        """Number of distances to one side."""
        positions = self.max_relative_positions
        return positions if positions > 0 else self.max_position_embeddings

    @property
    def span(self) -> int:
        """Half of the rows of the table of distances."""
        return self.position_buckets if self.position_buckets > 0 else self.farthest

    @property
    def least_parameters(self) -> int:
        """As of `BodyConfig`, and of the table of distances."""
        table = 2 * self.span * self.hidden_size if self.has_distances else 0
        return super().least_parameters + table

    def rows(self, distances: np.ndarray) -> np.ndarray:
        """Rows of the table for distances query - key."""
        if self.position_buckets > 0:
            distances = signed_buckets(distances, self.position_buckets, self.farthest)
        return np.clip(distances + self.span, 0, 2 * self.span - 1)

    @classmethod
    def read(cls, facts: Mapping[str, Any]) -> "DebertaConfig":
        """The config by config.json's settings.

        Raises:
          ValueError: a setting is missing or is not supported.
        """
        facts = _DEFAULTS | dict(facts)
        terms = facts["pos_att_type"] or ()
        if isinstance(terms, str):  # as Microsoft's files have it
            terms = [term.strip() for term in terms.lower().split("|")]
        found = hf_config.read(
            cls,
            facts,
            supported={
                "hidden_act": tuple(ACTIVATIONS),
                "conv_act": tuple(ACTIVATIONS),
                "pooler_hidden_act": tuple(ACTIVATIONS),
                "norm_rel_ebd": ("none", "layer_norm"),
                "conv_groups": (1,),
            },
            pos_att_type=terms,
            padding_position=None,
        )
        width = found.hidden_size
        hf_config.check_width(facts, "embedding_size", width, "hidden_size")
        hf_config.check_width(facts, "pooler_hidden_size", width, "hidden_size")
        heads = found.num_attention_heads
        same = "hidden_size / num_attention_heads"
        hf_config.check_width(facts, "attention_head_size", width // heads, same)
        return found

    def encoder(self, **settings: Any) -> "Deberta":
        """A `Deberta` of this config."""
        return Deberta(self, **settings)


def signed_buckets(distances: np.ndarray, count: int, farthest: int) -> np.ndarray:
    """Distances up to half of the count as they are, others by their logarithm: that of the farthest is count - 1.

    In numpy and float32, as the checkpoints were trained: where the logarithm is a whole
    number, another one falls into the next bucket.
    """
    middle = count // 2
    away = np.maximum(np.abs(distances), middle)
    scale = np.log(np.float32((farthest - 1) / middle))
    ratio = np.log((away / middle).astype(np.float32)) / scale
    far = np.ceil(ratio * np.float32(middle - 1)).astype(np.int32) + middle
    near = np.abs(distances) <= middle
    return np.where(near, distances, np.sign(distances) * far)


class _SelfAttention(SelfAttention):
    @nn.compact
    def __call__(self, x, mask, table=None, *, train):
        query, key, value = (
            self.projection(f"{name}_proj") for name in ("query", "key", "value")
        )
        q, k = query(x), key(x)
        # All terms have one variance; `attend` divides by the root of the width.
        scale = (1 + len({*self.config.pos_att_type})) ** -0.5
        bias = None
        if table is not None:
            dropout = Dropout(self.config.hidden_dropout_prob, deterministic=not train)
            bias = self._positions(q, k, query, key, dropout(table))
            bias *= scale * q.shape[-1] ** -0.5
            # A padded query has a score of 0 everywhere, and sees all.
            bias = jnp.where(mask[:, None, :, None], bias, 0)
        q = jnp.where(mask[:, :, None, None], q * scale, 0)
        visible = mask[:, None, None] | ~mask[:, None, :, None]
        return self.attend(q, k, value(x), mask=visible, bias=bias, train=train)

    def _positions(self, q, k, query, key, table) -> jax.Array:
        """The terms of positions: heads, their projections, [2 L + 1, D] -> [B, H, L, L]."""
        terms, shared = self.config.pos_att_type, self.config.share_att_key
        product = functools.partial(jnp.einsum, preferred_element_type=jnp.float32)
        total = jnp.zeros((), jnp.float32)
        if "c2p" in terms:
            project = key if shared else self.projection("pos_key_proj")
            by_query = product("bqhe,phe->bhqp", q, project(table[:-1]))
            total += by_key(by_query)
        if "p2c" in terms:  # a row per key, so the distances the other way round
            project = query if shared else self.projection("pos_query_proj")
            of_keys = product("bkhe,phe->bhkp", k, project(table[:0:-1]))
            total += jnp.swapaxes(by_key(of_keys), 2, 3)
        return total


class _Attention(Attention):
    inner = _SelfAttention


class _Convolution(nn.Module):
    """Neighbouring words, from their embeddings, added behind the first layer."""

    config: DebertaConfig
    dtype: Any

    @nn.compact
    def __call__(self, x, h, mask, *, train):
        """[B, L, D] embeddings and the first layer's output, [B, L] bool -> [B, L, D]."""
        config, real = self.config, mask[..., None]
        size = (config.hidden_size, (config.conv_kernel_size,))
        x = jnp.where(real, x, 0)  # also where something was injected into padding
        y = nn.Conv(*size, dtype=self.dtype, kernel_init=INIT, name="conv")(x)
        y = jnp.where(real, y, 0)
        y = Dropout(config.hidden_dropout_prob, deterministic=not train)(y)
        y = ACTIVATIONS[config.conv_act](y)
        return jnp.where(
            real, layer_norm(config.layer_norm_eps, self.dtype, "LayerNorm")(h + y), 0
        )


class _Layers(LayersOf):
    attention = _Attention

    def shared(self, length):
        """The vectors of the distances length, length - 1, ..., -length: [2 L + 1, D]."""
        config = self.config
        if not config.has_distances:
            return ()
        size = (2 * config.span, config.hidden_size)
        table = Embed(*size, self.dtype, INIT, name="rel_embeddings")
        rows = config.rows(np.arange(length, -length - 1, -1))
        vectors = table(jnp.asarray(rows, jnp.int32))
        if config.norm_rel_ebd == "layer_norm":
            vectors = layer_norm(config.layer_norm_eps, self.dtype, "LayerNorm")(
                vectors
            )
        return (vectors,)

    def behind_first(self, mask, *, train):
        """The convolution, where there is one."""
        if not self.config.conv_kernel_size:
            return None
        convolution = _Convolution(self.config, self.dtype, name="conv")
        return functools.partial(convolution, mask=mask, train=train)


class Deberta(TextEncoder):
    """The encoder; `pooled` is that of the heads of classification: a layer over the first token.

    No checkpoint of pretraining has this layer: it then starts untrained.
    """

    config: DebertaConfig = DebertaConfig()

    layers = _Layers

    def names(self) -> Table:
        """Its parameters by their names in PyTorch's files."""
        return table(self)

    def embed(self, ids, mask, segments, *, train):
        """The input of the layers, [B, L, D], zero on padding."""
        positions = self.config.position_biased_input
        x = super().embed(ids, mask, segments, train=train, positions=positions)
        return jnp.where(mask[..., None], x, 0)

    def pool(self, last, mask):
        """The vector of a sequence, [B, D]."""
        del mask
        activation = self.config.pooler_hidden_act
        return Pooler(self.dtype or last.dtype, activation, name="pooler")(last)
