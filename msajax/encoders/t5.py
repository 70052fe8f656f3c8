"""T5's encoder, and the blocks that its decoder has too (`t5_writer.py`).

Raffel et al., "Exploring the Limits of Transfer Learning with a Unified
Text-to-Text Transformer", JMLR 2020, in the forms of versions 1.0 and 1.1, and mT5
(Xue et al., NAACL 2021). Attention has no scale, layers no biases and positions only
relative ones. Names of parameters are those of the other encoders; the table of names
has those of Hugging Face's T5.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Le

from msajax.encoders import hf_config
from msajax.encoders.body import TextEncoder
from msajax.encoders.layers import (
    ACTIVATIONS,
    Count,
    Epsilon,
    Layers,
    LayerStack,
    Rate,
    Width,
    attend_watched,
    injections,
)
from msajax.encoders.relative import buckets
from msajax.nn.dropout import Dropout
from msajax.nn.embedding import Embed
from msajax.nn.pooling import mean_pool
from msajax.weights.t5 import table
from msajax.weights.table import Table

Keys = tuple[jax.Array, jax.Array]
# (a block's output, what its feed-forward layers read) -> a new one; by the blocks before it
Change = Callable[[jax.Array, jax.Array], jax.Array]
Changes = Mapping[int, Change]
# Feed-forward blocks by the name in config.json, with the activation of each; half of a
# gated block's first layer is not activated and multiplies the other half.
FEED_FORWARD = {
    **{name: name for name in ACTIVATIONS},
    **{f"gated-{name}": name for name in ACTIVATIONS},
    "gated-gelu": "gelu_new",
}

# Absent from many files; transformers takes the same defaults.
_OPTIONAL = (
    "relative_attention_num_buckets",
    "relative_attention_max_distance",
    "layer_norm_epsilon",
    "dropout_rate",
    "pad_token_id",
    "eos_token_id",
    "decoder_start_token_id",
)

Id = Annotated[int, Ge(0), Le(2**24)]


@dataclasses.dataclass(frozen=True)
class T5Config:
    """The network, by the names in a checkpoint's config.json; the defaults are t5-base's.

    Attributes:
      d_kv: width of a head; the heads together need not be as wide as the network.
      tie_word_embeddings: the head is the table of words, over outputs that are scaled by
        d_model ** -0.5; version 1.1 has a head of its own and no scale.
      pad_token_id, eos_token_id, decoder_start_token_id: of the text that is written.
    """

    kinds: ClassVar[tuple[str, ...]] = ("t5", "mt5")
    max_length: ClassVar[int | None] = None  # positions are relative
    summary: ClassVar[str] = "mean"  # it has no token for it
    has_segments: ClassVar[bool] = False

    vocab_size: Count = 32128
    d_model: Width = 768
    d_kv: Width = 64
    d_ff: Width = 3072
    num_layers: Layers = 12
    num_decoder_layers: Layers = 12
    num_heads: Width = 12
    relative_attention_num_buckets: Annotated[int, Ge(4), Le(2**16)] = 32
    relative_attention_max_distance: Count = 128
    feed_forward_proj: str = "relu"
    tie_word_embeddings: bool = True
    layer_norm_epsilon: Epsilon = 1e-6
    dropout_rate: Rate = 0.1
    pad_token_id: Id = 0
    eos_token_id: Id = 1
    decoder_start_token_id: Id = 0

    def __post_init__(self):
        rows = self.relative_attention_num_buckets
        if self.relative_attention_max_distance <= rows // 2:
            raise ValueError(
                f"relative_attention_max_distance is {self.relative_attention_max_distance}"
                f", but half of the {rows} buckets are a distance each: give more than "
                f"{rows // 2}"
            )

    @property
    def gated(self) -> bool:
        """Whether the feed-forward blocks are, as in version 1.1."""
        return self.feed_forward_proj.startswith("gated-")

    @property
    def least_parameters(self) -> int:
        """Parameters of the encoder's kernels, words and positions: fewer than the network has."""
        heads = self.num_heads * self.d_kv
        layer = self.d_model * (4 * heads + 2 * self.d_ff)
        table = self.relative_attention_num_buckets * self.num_heads
        return self.vocab_size * self.d_model + table + self.num_layers * layer

    @classmethod
    def read(cls, facts: Mapping[str, Any]) -> "T5Config":
        """The config by config.json's settings.

        Raises:
          ValueError: a setting is missing or is not supported.
        """
        multilingual = facts.get("model_type") == "mt5"
        # From version 5 on, transformers says that all are tied, and in another setting
        # what the released file said; to mT5, whose head is never tied, in none.
        tied = not multilingual and facts.get(
            "scale_decoder_outputs", facts.get("tie_word_embeddings", True)
        )
        if not isinstance(tied, bool):
            raise ValueError(
                f"the config has no usable value of tie_word_embeddings ({hf_config.shown(tied)})"
            )
        found = {"feed_forward_proj": "gated-gelu" if multilingual else "relu", **facts}
        if found.get("num_decoder_layers") is None:
            found["num_decoder_layers"] = found.get("num_layers")
        supported = {"feed_forward_proj": tuple(FEED_FORWARD), "is_decoder": (False,)}
        return hf_config.read(
            cls,
            found,
            supported=supported,
            optional=_OPTIONAL,
            tie_word_embeddings=tied,
        )

    def encoder(self, **settings: Any) -> "T5":
        """A `T5` of this config, without its decoder."""
        return T5(self, **settings)


class T5(TextEncoder):
    """The encoder; padding may be on either side, and the last hidden state is normalised.

    `pooled` has no parameters: it is the mean over the real tokens. T5 has no vector of a
    sequence, and of what it has the mean is the best (Ni et al., "Sentence-T5", Findings
    ACL 2022). What is injected after the last layer is normalised with it.
    """

    config: T5Config = T5Config()

    def names(self) -> Table:
        """Its parameters by their names in PyTorch's files."""
        return table(self)

    def embed(self, ids, mask, segments, *, train):
        """The vectors of the words, [B, L, D], before dropout."""
        del mask, segments, train
        return words(self.config, self.dtype, "word_embedding")(ids)

    def run(self, x, mask, segments, *, train, inject_after=None, inject=None):
        """All hidden states, that of the embeddings first."""
        del segments
        found = injections(self.config.num_layers, inject_after, inject)
        changes = {k: lambda x, _, change=v: change(x) for k, v in found.items()}
        stack = Encoder(self.config, x.dtype, self.remat, self.scan, name="encoder")
        return stack(x, mask, train=train, changes=changes)

    def pool(self, last, mask):
        """The mean over the real tokens, [B, D]."""
        return mean_pool(last, mask)


def words(config: T5Config, dtype: Any, name: str | None = None) -> Embed:
    """The table of words."""
    init = nn.initializers.normal(1.0)
    return Embed(config.vocab_size, config.d_model, dtype, init, name=name)


def rms_norm(config: T5Config, dtype: Any, name: str | None = None) -> nn.RMSNorm:
    """The norm before every block, and after the last."""
    return nn.RMSNorm(config.layer_norm_epsilon, dtype=dtype, name=name)


def bias_table(config: T5Config, name: str | None = None) -> Embed:
    """A bias of each head for each bucket of relative positions."""
    shape = (config.relative_attention_num_buckets, config.num_heads)
    init = nn.initializers.normal(config.d_model**-0.5)
    return Embed(*shape, embedding_init=init, name=name)


def rows(config: T5Config, length: int, *, causal: bool) -> np.ndarray:
    """Rows of the table of biases for each query and key: [length, length] int32."""
    steps = np.arange(length)
    return buckets(
        steps[None] - steps[:, None],
        count=config.relative_attention_num_buckets,
        farthest=config.relative_attention_max_distance,
        causal=causal,
    )


def by_head(biases: jax.Array) -> jax.Array:
    """[Q, K, H] -> [1, H, Q, K]."""
    return jnp.moveaxis(biases, 2, 0)[None]


class Encoder(nn.Module):
    """The table of relative positions, the stack of layers and the norm after it."""

    config: T5Config
    dtype: Any
    remat: bool
    scan: bool

    @nn.compact
    def __call__(self, x, mask, *, train, changes: Changes):
        """[B, L, D] and mask [B, L] -> num_layers + 1 hidden states [B, L, D]."""
        config = self.config
        table = bias_table(config, "relative_attention_bias")
        bias = by_head(table(jnp.asarray(rows(config, x.shape[1], causal=False))))
        dropout = Dropout(config.dropout_rate, deterministic=not train)
        make_layer = functools.partial(_Layer, config, self.dtype)
        sizes = config.num_layers, self.remat, self.scan
        stack = LayerStack(make_layer, *sizes, name="layer")
        pair: Any = (dropout(x),) * 2  # see _Layer; before the first, the embeddings
        inject: Any = [lambda p, f=f: (f(*p), p[1]) for f in changes.values()]
        injected: Any = dict(inject_after=[*changes], inject=inject)
        pairs: Any = stack(pair, mask, bias, train=train, **injected)
        *hidden, last = (x for x, _ in pairs)
        last = rms_norm(config, self.dtype, "final_layer_norm")(last)
        return (*hidden, dropout(last))


class _Layer(nn.Module):
    """From the output of the layer before it to its own, each beside the input of its feed-forward block."""

    config: T5Config
    dtype: Any

    @nn.compact
    def __call__(self, pair, mask, bias, *, train):
        attention = Attention(self.config, self.dtype, name="attention")
        x, _ = attention(pair[0], visible=mask[:, None, None], bias=bias, train=train)
        feed_forward = FeedForward(self.config, self.dtype, name="feed_forward")
        return feed_forward(x, train=train), x


def _dense(
    features: int, dtype: Any, name: str | None = None, *, share: float = 1.0
) -> nn.Dense:
    """A layer without biases; share: of the variance that keeps that of its input."""
    init = nn.initializers.variance_scaling(share, "fan_in", "normal")
    return nn.Dense(features, use_bias=False, dtype=dtype, kernel_init=init, name=name)


class Attention(nn.Module):
    """Attention without a scale, added to its input, which it normalises."""

    config: T5Config
    dtype: Any

    def setup(self):
        """Makes the norm and the four projections."""
        config = self.config
        width = config.num_heads * config.d_kv
        self.layer_norm = rms_norm(config, self.dtype)
        # Its initial values make up for the scale that the scores lack.
        self.q = _dense(width, self.dtype, share=1 / config.d_kv)
        self.k, self.v = _dense(width, self.dtype), _dense(width, self.dtype)
        self.o = _dense(config.d_model, self.dtype)
        self.dropout = Dropout(config.dropout_rate, deterministic=False)

    def keys(self, x: jax.Array) -> Keys:
        """Keys and values: [B, K, D] -> two [B, K, H, E]."""
        return self._heads(self.k(x)), self._heads(self.v(x))

    def __call__(
        self,
        x: jax.Array,
        *,
        keys: Keys | None = None,
        cache: Keys | None = None,
        place: jax.Array | int = 0,
        visible: jax.Array,
        bias: jax.Array | None,
        train: bool,
    ) -> tuple[jax.Array, Keys]:
        """Attends to keys, or to x itself.

        Args:
          x: [B, Q, D].
          keys: of what it attends to instead of itself.
          cache: keys of all places; those of x are written into it.
          place: of x in the cache.
          visible: [B, 1, Q or 1, K] bool.
          bias: [1, H, Q, K] float32.
          train: apply dropout.

        Returns:
          [B, Q, D], and the keys that it attended to.
        """
        h = self.layer_norm(x)
        q = self._heads(self.q(h))
        if keys is None:
            keys = self.keys(h)
        if cache is not None:
            write = functools.partial(jax.lax.dynamic_update_slice_in_dim, axis=1)
            keys = (write(cache[0], keys[0], place), write(cache[1], keys[1], place))
        dropout = self.dropout if train else None
        settings = dict(mask=visible, bias=bias, scale=1.0, dropout=dropout)
        h = self.o(attend_watched(self, q, *keys, **settings))
        return x + (h if dropout is None else dropout(h)), keys

    def _heads(self, x: jax.Array) -> jax.Array:  # [B, L, H E] -> [B, L, H, E]
        return x.reshape(*x.shape[:2], self.config.num_heads, self.config.d_kv)


class FeedForward(nn.Module):
    """Two layers, added to their input, which they normalise."""

    config: T5Config
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, L, D] -> [B, L, D]."""
        config = self.config
        dropout = Dropout(config.dropout_rate, deterministic=not train)
        dense = functools.partial(_dense, dtype=self.dtype)
        h = rms_norm(config, self.dtype, "layer_norm")(x)
        first = dense(config.d_ff, name="wi_0" if config.gated else "wi")(h)
        first = ACTIVATIONS[FEED_FORWARD[config.feed_forward_proj]](first)
        if config.gated:
            first *= dense(config.d_ff, name="wi_1")(h)
        return x + dropout(dense(config.d_model, name="wo")(dropout(first)))
