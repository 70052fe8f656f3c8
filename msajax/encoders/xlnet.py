"""XLNet as an encoder: self-attention over relative positions, padded on either side.

Yang et al., "XLNet: Generalized Autoregressive Pretraining for Language
Understanding", NeurIPS 2019. Of the paper's network this is what fine-tuning
runs: the content stream, without memory of earlier segments and without the
two-stream attention of pretraining. Parameter names are those of Hugging
Face's PyTorch XLNet, with Flax's names of leaves.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from msajax.encoders import hf_config
from msajax.encoders.body import TextEncoder
from msajax.encoders.layers import (
    ACTIVATIONS,
    INIT,
    Count,
    Epsilon,
    Layers,
    LayerStack,
    Rate,
    Width,
    by_key,
    check_heads,
    dense,
    layer_norm,
)
from msajax.nn.attention import masked_softmax
from msajax.nn.dropout import Dropout
from msajax.nn.embedding import Embed
from msajax.weights.table import Table
from msajax.weights.xlnet import table


@dataclasses.dataclass(frozen=True)
class XLNetConfig:
    """The network, by the names in a checkpoint's config.json; the defaults are xlnet-base-cased's."""

    kinds: ClassVar[tuple[str, ...]] = ("xlnet",)

    max_length: ClassVar[int | None] = None  # positions are relative
    summary: ClassVar[str] = "last"  # its <cls> ends the sequence
    has_segments: ClassVar[bool] = True  # of two tokens, whether they have the same one

    vocab_size: Count = 32000
    d_model: Width = 768
    n_layer: Layers = 12
    n_head: Width = 12
    d_inner: Width = 3072
    ff_activation: str = "gelu"
    layer_norm_eps: Epsilon = 1e-12
    dropout: Rate = 0.1

    def __post_init__(self):
        check_heads(self.d_model, self.n_head)
        if self.d_model % 2:
            raise ValueError(
                f"d_model is {self.d_model}, but the vectors of distances, half sines and "
                "half cosines, have an even width"
            )

    @property
    def least_parameters(self) -> int:
        """Parameters of the layers' kernels and of the words: fewer than the network has."""
        width, wide = self.d_model, self.d_inner
        layer = width * (4 * width + 2 * wide)
        return self.vocab_size * width + self.n_layer * layer

    @classmethod
    def read(cls, facts: Mapping[str, Any]) -> "XLNetConfig":
        """The config by config.json's settings.

        Raises:
          ValueError: a setting is missing or is not supported.
        """
        found = hf_config.read(
            cls,
            facts,
            supported={
                "ff_activation": tuple(ACTIVATIONS),
                "attn_type": ("bi",),
                "bi_data": (False,),
                "clamp_len": (-1, 0),
            },
        )
        hf_config.check_width(
            facts, "d_head", found.d_model // found.n_head, "d_model / n_head"
        )
        return found

    def encoder(self, **settings: Any) -> "XLNet":
        """An `XLNet` of this config."""
        return XLNet(self, **settings)


class XLNet(TextEncoder):
    """The encoder; padding may be on either side.

    `pooled` has no parameters: it is the last hidden state of the last real token, where
    XLNet has its <cls>.
    """

    config: XLNetConfig = XLNetConfig()

    def names(self) -> Table:
        """Its parameters by their names in PyTorch's files."""
        return table(self)

    def embed(self, ids, mask, segments, *, train):
        """The vectors of the words, [B, L, D], before dropout."""
        del mask, segments, train
        table = (self.config.vocab_size, self.config.d_model, self.dtype, INIT)
        return Embed(*table, name="word_embedding")(ids)

    def run(self, x, mask, segments, *, train, **injection):
        """All hidden states, that of the embeddings first."""
        config, length = self.config, x.shape[1]
        dropout = Dropout(config.dropout, deterministic=not train)
        distances = jnp.asarray(_distance_vectors(length, config.d_model))

        def make_layer(**named):
            return _Layer(config, x.dtype, **named)

        stack = LayerStack(
            make_layer, config.n_layer, self.remat, self.scan, name="layer"
        )
        *hidden, last = stack(
            dropout(x),
            dropout(distances.astype(x.dtype)),
            # A padded query sees itself too.
            mask[:, None] | jnp.eye(length, dtype=bool)[None],
            None if segments is None else segments[:, :, None] != segments[:, None],
            train=train,
            **injection,
        )
        return (*hidden, dropout(last))

    def pool(self, last, mask):
        """The last real token's state, [B, D]."""
        end = last.shape[1] - 1 - jnp.argmax(mask[:, ::-1], axis=1)
        return jnp.take_along_axis(last, end[:, None, None], axis=1)[:, 0]


def _distance_vectors(length: int, dim: int) -> np.ndarray:
    """Sinusoids of the distances L, L-1, ..., 1-L from key to query: [2 L, D] float32."""
    frequencies = 1e4 ** -(np.arange(0, dim, 2) / dim)
    angles = np.outer(np.arange(length, -length, -1), frequencies)
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


class _Layer(nn.Module):
    config: XLNetConfig
    dtype: Any

    @nn.compact
    def __call__(self, x, distances, visible, other_segment, *, train):
        x = _RelativeAttention(self.config, self.dtype, name="rel_attn")(
            x, distances, visible, other_segment, train=train
        )
        return _FeedForward(self.config, self.dtype, name="ff")(x, train=train)


class _RelativeAttention(nn.Module):
    config: XLNetConfig
    dtype: Any

    @nn.compact
    def __call__(self, x, distances, visible, other_segment, *, train):
        config = self.config
        heads, width = config.n_head, config.d_model // config.n_head

        def param(name: str, *shape: int) -> jax.Array:
            return self.param(name, INIT, (*shape, heads, width)).astype(self.dtype)

        o = param("o", config.d_model)
        # Biases of the query towards content (w), position (r) and segment (s).
        w_bias, r_bias, s_bias = (param(f"r_{c}_bias") for c in "wrs")
        seg_embed = param("seg_embed", 2)

        query, key, value = (self.project(name, x) for name in "qkv")
        position = self.project("r", distances)

        def scores(equation: str, bias: jax.Array, keys: jax.Array) -> jax.Array:
            biased = query + bias[None, None]
            return jnp.einsum(equation, biased, keys, preferred_element_type="float32")

        total = scores("bqhe,bkhe->bhqk", w_bias, key)
        total += by_key(scores("bqhe,phe->bhqp", r_bias, position))
        if other_segment is not None:
            same, other = jnp.moveaxis(
                scores("bqhe,she->bhqs", s_bias, seg_embed)[..., None], 3, 0
            )  # [B, H, Q, 1] each
            total += jnp.where(other_segment[:, None], other, same)
        weights = masked_softmax(total * width**-0.5, visible[:, None])
        self.sow("intermediates", "attention", weights)
        dropout = Dropout(config.dropout, deterministic=not train)
        weights = dropout(weights.astype(self.dtype))
        h = jnp.einsum("bhqk,bkhe->bqhe", weights, value)
        h = dropout(jnp.einsum("bqhe,dhe->bqd", h, o))
        return layer_norm(config.layer_norm_eps, self.dtype, "layer_norm")(h + x)

    def project(self, name: str, x: jax.Array) -> jax.Array:
        """A projection by its name, which adapters may add to: [..., D] -> [..., H, D/H]."""
        heads, width = self.config.n_head, self.config.d_model // self.config.n_head
        kernel = self.param(name, INIT, (x.shape[-1], heads, width))
        return jnp.einsum("...d,dhe->...he", x, kernel.astype(self.dtype))


class _FeedForward(nn.Module):
    config: XLNetConfig
    dtype: Any

    @nn.compact
    def __call__(self, x, *, train):
        config = self.config
        dropout = Dropout(config.dropout, deterministic=not train)
        h = dense(config.d_inner, self.dtype, "layer_1")(x)
        h = dropout(ACTIVATIONS[config.ff_activation](h))
        h = dropout(dense(config.d_model, self.dtype, "layer_2")(h))
        return layer_norm(config.layer_norm_eps, self.dtype, "layer_norm")(h + x)
