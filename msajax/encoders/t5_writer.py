"""T5 with its decoder, which writes text: teacher forcing, and greedy decoding with a cache.

The names of parameters are those of `T5`, with a decoder and, in version 1.1, a head.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from msajax.data.spec import IGNORED
from msajax.encoders import t5
from msajax.encoders.layers import Places, injections
from msajax.encoders.t5 import Attention, Change, Changes, Keys, T5Config
from msajax.nn.dropout import Dropout
from msajax.weights.t5 import table
from msajax.weights.table import Table

Module = TypeVar("Module", bound=nn.Module)


class Decoded(NamedTuple):
    """Outputs of the decoder.

    Attributes:
      hidden: [B, L, D] each, as `Encoded.hidden`.
      logits: [B, L, V] float32, of the token at each place.
    """

    hidden: tuple[jax.Array, ...]
    logits: jax.Array


class Cache(NamedTuple):
    """What a layer of the decoder keeps.

    Attributes:
      source: keys and values of the encoder's states, [B, S, H, E] each.
      target: keys and values of the tokens, [B, L, H, E] each, zeros on those to come.
    """

    source: Keys
    target: Keys


class T5Writer(nn.Module):
    """Encoder, decoder and head.

    Attributes:
      config, dtype: as of `T5`.
      remat, scan: of the encoder's layers.
    """

    config: T5Config = T5Config()
    dtype: Any = jnp.float32
    remat: bool = False
    scan: bool = False

    def names(self) -> Table:
        """Its parameters by their names in PyTorch's files."""
        return table(self)

    def setup(self):
        """Makes the parts; a head where it is not the table of words."""
        config = self.config
        self.word_embedding = t5.words(config, self.dtype)
        self.encoder = t5.Encoder(config, self.dtype, self.remat, self.scan)
        self.decoder = _Decoder(config, self.dtype)
        if not config.tie_word_embeddings:
            self.lm_head = nn.Dense(
                config.vocab_size,
                use_bias=False,
                dtype=self.dtype,
                kernel_init=nn.initializers.normal(1.0),
                dot_general=functools.partial(
                    jax.lax.dot_general, preferred_element_type=jnp.float32
                ),
            )

    def __call__(
        self, ids: jax.Array, labels: jax.Array, *, mask: jax.Array, train: bool
    ) -> Decoded:
        """`decode` after `encode`."""
        source = self.encode(ids, mask=mask, train=train)[-1]
        return self.decode(labels, source=source, mask=mask, train=train)

    def encode(
        self,
        ids: jax.Array,
        *,
        mask: jax.Array,
        train: bool,
        inject_after: Places | None = None,
        inject: Change | Sequence[Change] | None = None,
    ) -> tuple[jax.Array, ...]:
        """The hidden states of `T5`, from the same arguments.

        What is injected is given the input of the last block's feed-forward layers too, [B, S, D];
        before the first block that is the embeddings.
        """
        changes = injections(self.config.num_layers, inject_after, inject)
        x = self.word_embedding(ids)
        return self.encoder(x, mask, train=train, changes=changes)

    def decode(
        self,
        labels: jax.Array,
        *,
        source: jax.Array,
        mask: jax.Array,
        train: bool,
        inject_after: Places | None = None,
        inject: Change | Sequence[Change] | None = None,
    ) -> Decoded:
        """Decodes known texts, each token from those before it (teacher forcing).

        Args:
          labels: [B, L] int32, texts with the token of their end, then `IGNORED`.
          source: [B, S, D], the encoder's last hidden states.
          mask: [B, S] bool, real tokens of the source.
          train: apply dropout.
          inject_after, inject: as of `encode`.

        Returns:
          num_decoder_layers + 1 hidden states and the logits of the labels.

        Raises:
          ValueError: there is no layer `inject_after`.
        """
        caches = self.start(source, labels.shape[1])
        hidden, _ = self.decoder(
            *(self.word_embedding(shift(labels, self.config)), caches),
            mask=mask,
            train=train,
            changes=self._changes(inject_after, inject),
        )
        return Decoded(hidden, self._logits(hidden[-1]))

    def write(self, source: jax.Array, *, mask: jax.Array, length: int) -> jax.Array:
        """Writes texts by `greedy`: source and mask as of `decode` -> [B, length] int32."""

        def step(writer: T5Writer, *state: Any) -> tuple[jax.Array, Any]:
            return writer.step(*state, mask=mask)

        return greedy(self, step, self.start(source, length), config=self.config)

    def start(self, source: jax.Array, length: int) -> tuple[Cache, ...]:
        """Caches of the layers for [B, S, D] of the encoder and `length` tokens to come."""
        return self.decoder.start(source, length)

    def step(
        self,
        token: jax.Array,
        place: jax.Array,
        caches: tuple[Cache, ...],
        *,
        mask: jax.Array,
        inject_after: Places | None = None,
        inject: Change | Sequence[Change] | None = None,
    ) -> tuple[jax.Array, tuple[Cache, ...]]:
        """One token of a text that is written.

        Args:
          token: [B] int32, the one before; first the start's.
          place: of the token to come, from 0.
          caches: of `start`, or of the step before.
          mask: [B, S] bool, real tokens of the source.
          inject_after, inject: as of `encode`.

        Returns:
          Logits [B, V] float32, and the caches with what was read.
        """
        hidden, caches = self.decoder(
            *(self.word_embedding(token[:, None]), caches, place),
            mask=mask,
            train=False,
            changes=self._changes(inject_after, inject),
        )
        return self._logits(hidden[-1])[:, 0], caches

    def _changes(
        self, inject_after: Places | None, inject: Change | Sequence[Change] | None
    ) -> Changes:
        layers = self.config.num_decoder_layers
        return injections(layers, inject_after, inject, of="decoder")

    def _logits(self, x: jax.Array) -> jax.Array:
        """[B, L, D] -> [B, L, V] float32."""
        if not self.config.tie_word_embeddings:
            return self.lm_head(x)
        table = self.word_embedding.variables["params"]["embedding"].astype(x.dtype)
        scaled = x * self.config.d_model**-0.5
        return jnp.einsum(
            "bld,vd->blv", scaled, table, preferred_element_type=jnp.float32
        )


def greedy(
    module: Module,
    step: Callable[[Module, jax.Array, jax.Array, Any], tuple[jax.Array, Any]],
    caches: tuple[Cache, ...],
    *,
    config: T5Config,
) -> jax.Array:
    """Writes the most probable token, and the next after it, until all texts have ended.

    Args:
      module: whose parameters the steps read, all of them initialised.
      step: (module, token, place, caches) -> (logits, caches), as `T5Writer.step`.
      caches: of `T5Writer.start`, which says how long the texts may be.
      config: of the network.

    Returns:
      [B, length] int32: without the start's token, with that of the end where one was
      written, then padding.
    """
    rows, length = caches[0].target[0].shape[:2]

    def goes_on(module: Module, state: Any) -> Any:
        del module
        place, _, _, ended, _ = state
        return (place < length) & ~jnp.all(ended)

    def write(module: Module, state: Any) -> Any:
        place, token, ids, ended, caches = state
        logits, caches = step(module, token, place, caches)
        best = jnp.argmax(logits, axis=-1).astype(jnp.int32)
        token = jnp.where(ended, config.pad_token_id, best)
        ids = jax.lax.dynamic_update_slice_in_dim(ids, token[:, None], place, axis=1)
        return place + 1, token, ids, ended | (token == config.eos_token_id), caches

    first = jnp.full(rows, config.decoder_start_token_id, jnp.int32)
    blank = jnp.full((rows, length), config.pad_token_id, jnp.int32)
    state = (jnp.int32(0), first, blank, jnp.zeros(rows, bool), caches)
    return nn.while_loop(goes_on, write, module, state)[2]


def shift(labels: jax.Array, config: T5Config) -> jax.Array:
    """What the decoder reads to write labels: the start, then all but the last; [B, L]."""
    start = jnp.full_like(labels[:, :1], config.decoder_start_token_id)
    before = jnp.concatenate([start, labels[:, :-1]], axis=1)
    return jnp.where(before == IGNORED, config.pad_token_id, before)


class _Decoder(nn.Module):
    """The table of relative positions, the layers and the norm after them."""

    config: T5Config
    dtype: Any

    def setup(self):
        config = self.config
        self.relative_attention_bias = t5.bias_table(config)
        self.layer = _Layers(config, self.dtype)
        self.final_layer_norm = t5.rms_norm(config, self.dtype)
        self.dropout = Dropout(config.dropout_rate)

    def start(self, source: jax.Array, length: int) -> tuple[Cache, ...]:
        """As `T5Writer.start`."""
        return self.layer.start(source, length)

    def __call__(
        self,
        x: jax.Array,
        caches: tuple[Cache, ...],
        place: jax.Array | int = 0,
        *,
        mask: jax.Array,
        train: bool,
        changes: Changes,
    ) -> tuple[tuple[jax.Array, ...], tuple[Cache, ...]]:
        """[B, Q, D] at places from `place` on -> hidden states, and the caches with them."""
        count, length = x.shape[1], caches[0].target[0].shape[1]
        rows = jnp.asarray(t5.rows(self.config, length, causal=True))
        rows = jax.lax.dynamic_slice_in_dim(rows, place, count)
        queries, keys = place + jnp.arange(count), jnp.arange(length)
        dropout = functools.partial(self.dropout, deterministic=not train)
        hidden, caches = self.layer(
            *(dropout(x), caches, place),
            earlier=(keys[None] <= queries[:, None])[None, None],
            bias=t5.by_head(self.relative_attention_bias(rows)),
            real=mask[:, None, None],
            train=train,
            changes=changes,
        )
        last = dropout(self.final_layer_norm(hidden[-1]))
        return (*hidden[:-1], last), caches


class _Layers(nn.Module):
    """Layers '0', '1', ... in sequence."""

    config: T5Config
    dtype: Any

    def setup(self):
        for i in range(self.config.num_decoder_layers):
            setattr(self, str(i), _Layer(self.config, self.dtype))

    def _all(self) -> list["_Layer"]:
        return [getattr(self, str(i)) for i in range(self.config.num_decoder_layers)]

    def start(self, source, length):
        return tuple(layer.start(source, length) for layer in self._all())

    def __call__(self, x, caches, place, *, changes, **given):
        hidden, kept, read = [x], [], x
        for i, layer in enumerate(self._all()):
            hidden[i] = changes.get(i, _same)(hidden[i], read)
            x, read, cache = layer(hidden[i], caches[i], place, **given)
            hidden.append(x)
            kept.append(cache)
        hidden[-1] = changes.get(len(kept), _same)(hidden[-1], read)
        return hidden, tuple(kept)


def _same(x: jax.Array, read: jax.Array) -> jax.Array:
    del read
    return x


class _Layer(nn.Module):
    config: T5Config
    dtype: Any

    def setup(self):
        self.attention = Attention(self.config, self.dtype)
        self.cross_attention = Attention(self.config, self.dtype)
        self.feed_forward = t5.FeedForward(self.config, self.dtype)

    def start(self, source, length):
        keys, values = self.cross_attention.keys(source)
        shape = (source.shape[0], length, *keys.shape[2:])
        blank = jnp.zeros(shape, keys.dtype)
        return Cache((keys, values), (blank, blank))

    def __call__(self, x, cache, place, *, earlier, bias, real, train):
        own = dict(cache=cache.target, place=place, visible=earlier, bias=bias)
        x, target = self.attention(x, **own, train=train)
        x, source = self.cross_attention(
            x, keys=cache.source, visible=real, bias=None, train=train
        )
        return self.feed_forward(x, train=train), x, Cache(source, target)
