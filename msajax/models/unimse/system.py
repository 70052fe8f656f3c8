"""UniMSE: T5 reads the text with audio and vision, and writes the label as text.

Hu, Lin, Zhao, Lu, Wu and Li, "UniMSE: Towards Unified Multimodal Sentiment Analysis and
Emotion Recognition", EMNLP 2022; the network and the defaults are those of the authors'
code (LeMei/UniMSE @ a9fbb4f). LSTMs read audio and vision, adapters behind the last blocks
of encoder and decoder take their vectors in, and a contrast holds text, audio and vision
together. The labels of several data sets are one text (`msajax.data.universal`); greedy
decoding writes it, and the field of the run's own data set is read back.

A text whose field is no answer predicts 0, or the class 'neutral', as in the authors' code.
The authors' code does not report it; here such rows are counted (`unread`), and reported beside the figures.

What differs from their code: The contrast pairs a text with its own audio and vision; theirs
puts the steps of the LSTMs back in order twice, and so takes those of other rows. Its means
are over real steps (`padded` restores theirs), and its projections are trained. The adapters
start as the identity on the text (`start`). Scores are written to a tenth. The adapters that
read by cross-attention see all real steps of a signal, in training as in writing: theirs hide
the later ones by numbers of steps, and count a written piece as the first. Their dropout
(1e-4) is left out.
"""

import functools
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from annotated_types import Gt

from msajax import losses, parallel
from msajax.data.spec import Written
from msajax.encoders.read_back import read_back
from msajax.encoders.t5 import T5Config
from msajax.encoders.t5_writer import Change, Decoded, T5Writer, greedy
from msajax.models.base import Batch, Model, Outputs
from msajax.models.unimse.adapters import Adapter, CrossAdapter
from msajax.nn.dropout import Dropout
from msajax.nn.linear import Linear
from msajax.nn.pooling import mean_pool
from msajax.nn.recurrent import LSTM

Width = Annotated[int, Gt(0)]
# In the order in which the adapters have them behind the text.
_SIGNALS = ("vision", "audio")
_STACKS = ("encoder", "decoder")
_CHOICES = {
    "adapter_name": ("ffn", "parallel", "cross_attention"),
    "start": ("identity", "random"),
}
# Of vision and audio: a vector [B, E], and the states of the steps [B, L, H].
Signals = dict[str, tuple[jax.Array, jax.Array]]


class UniMSE(Model):
    """T5 with multimodal adapters, which writes universal labels.

    Attributes:
      encoder: the whole T5, from config.text.
      adapter_layers: how many of the last blocks have an adapter each, in the encoder and in the
        decoder; all where there are fewer.
      adapter_name: 'ffn', behind the feed-forward layers, 'parallel', beside them, both with
        the vectors of vision and audio; or 'cross_attention', in which the text reads the
        steps of the LSTMs.
      adapter_dim: width of the adapters' bottleneck, or of the space of the attention.
      cross_heads, cross_layers: heads and layers of the attention.
      start: what an adapter does at first: 'identity' passes the text on, 'random' is a
        random map of text, vision and audio, as in the authors' code.
      hidden: width of the LSTMs over vision and audio.
      dim: width of the vector of each.
      dropout: dropout rate of the LSTMs' last states.
      contrast: weight of the contrast of text and vision, and of that of text and audio.
      contrast_dim: width of the space in which they are compared.
      temperature: divides the cosines.
      longest: largest number of decoded pieces; raised to that of the longest label.
      padded: means of the contrast are over all steps, as in the authors' code.
      remat, scan: options of the encoder's layers, as in `TextOnly`.
    """

    own_fields: ClassVar[tuple[str, ...]] = ("label_ids",)
    unread: ClassVar[str] = "unread"

    encoder: T5Config = T5Config()
    adapter_layers: int = 3
    adapter_name: str = "ffn"
    adapter_dim: Width = 64
    cross_heads: Width = 2
    cross_layers: Width = 2
    start: str = "identity"
    hidden: Width = 32
    dim: Width = 32
    dropout: float = 0.3
    contrast: float = 0.5
    contrast_dim: Width = 30
    temperature: Annotated[float, Gt(0)] = 0.1
    longest: Width = 16
    padded: bool = False
    remat: bool = False
    scan: bool = False

    @property
    def written(self) -> Written:
        """How labels are texts.

        Raises:
          ValueError: the spec does not say it.
        """
        if self.spec.written is None:
            raise ValueError(
                "UniMSE writes labels as text, but the spec does not say how (written); name "
                "a T5 by config.text.encoder, and train by a recipe (unimse:mosi)"
            )
        return self.spec.written

    def setup(self):
        """Makes T5, its adapters, the LSTMs and the projections of the contrast."""
        self.check_choices(_CHOICES)
        settings: dict[str, Any] = dict(remat=self.remat, scan=self.scan)
        self.writer = T5Writer(self.encoder, dtype=None, **settings, name="encoder")
        self.adapter = {
            f"{stack}_{place}": self._make_adapter()
            for stack in _STACKS
            for place in self._places(stack)
        }
        dim = 0 if self.adapter_name == "cross_attention" else self.dim
        self.listen = {m: Signal(self.hidden, dim, self.dropout) for m in _SIGNALS}
        own = self.contrast_dim, self.temperature
        self.compare = {stack: Contrast(*own) for stack in _STACKS}

    def _make_adapter(self) -> Adapter | CrossAdapter:
        dim, identity = self.adapter_dim, self.start == "identity"
        if self.adapter_name == "cross_attention":
            return CrossAdapter(dim, self.cross_heads, self.cross_layers, identity)
        return Adapter(dim, identity, self.adapter_name == "parallel")

    def _places(self, stack: str) -> range:
        """The blocks of a stack with an adapter behind them, counted from 1."""
        config = self.encoder
        many = dict(encoder=config.num_layers, decoder=config.num_decoder_layers)
        return range(max(1, many[stack] - self.adapter_layers + 1), many[stack] + 1)

    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Predictions, read from what is written.

        Returns:
          'pred' ([B], or of classes [B, C], 1 for that written and 0 for the others);
          'written' [B, L] int32, the pieces; 'unread' [B], 1 where they are no label; 'fusion'
          [B, D], the mean of the encoder's last states.
        """
        read = self._read(batch, train)
        states = self._encode(batch, read, train)
        if self.is_initializing():  # what the loss alone reads
            blank = jnp.zeros((states[-1].shape[0], 2), jnp.int32)
            self._contrast("encoder", states, batch["text_mask"], read, batch)
            states_of = self._decode(blank, states[-1], read, batch, train).hidden
            self._contrast("decoder", states_of, blank == 0, read, batch)
        ids = self._write(states[-1], read, batch)
        chosen, known = read_back(ids, self.written)
        return {
            "pred": self._labels(chosen, known),
            "written": ids,
            "unread": 1.0 - known,
            "fusion": mean_pool(states[-1], batch["text_mask"]),
        }

    def loss(
        self, batch: Batch, *, train: bool, progress: dict[str, jax.Array]
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The mean cross-entropy of the labels' pieces; in training with the contrast of each stack."""
        del progress
        read = self._read(batch, train)
        states = self._encode(batch, read, train)
        ids = batch["label_ids"]
        decoded = self._decode(ids, states[-1], read, batch, train)
        values = losses.token_cross_entropy(decoded.logits, ids)
        total, count = (
            parallel.batch_mean(
                jnp.sum(x, axis=1, dtype=jnp.float32), where=batch["valid"]
            )
            for x in (values, ids >= 0)
        )
        text = total / jnp.maximum(count, jnp.finfo(jnp.float32).tiny)
        if not train:
            return text, {"text": text}
        seen = dict(encoder=(states, batch["text_mask"]))
        seen["decoder"] = decoded.hidden, ids >= 0
        terms = [self._contrast(k, *x, read, batch) for k, x in seen.items()]
        contrast = jnp.sum(jnp.stack(terms))
        return text + self.contrast * contrast, {"text": text, "contrast": contrast}

    def _read(self, batch: Batch, train: bool) -> Signals:
        """What the LSTMs make of vision and audio."""
        return {
            m: self.listen[m](batch[m], batch[f"{m}_mask"], train=train)
            for m in _SIGNALS
        }

    def _injected(
        self, stack: str, read: Signals, batch: Batch, **where: Any
    ) -> dict[str, Any]:
        """The adapters of a stack, as T5 takes them; where: length and place of `CrossAdapter`."""
        given: dict[str, Any] = dict(vectors=[read[m][0] for m in _SIGNALS])
        if self.adapter_name == "cross_attention":
            steps = [(read[m][1], batch[f"{m}_mask"]) for m in _SIGNALS]
            given = dict(steps=steps, **where)
        changes: list[Change] = [
            functools.partial(self.adapter[f"{stack}_{place}"], **given)
            for place in self._places(stack)
        ]
        return dict(inject_after=tuple(self._places(stack)), inject=tuple(changes))

    def _encode(
        self, batch: Batch, read: Signals, train: bool
    ) -> tuple[jax.Array, ...]:
        """The hidden states of the text."""
        ids, mask = batch["text_ids"], batch["text_mask"]
        injected = self._injected("encoder", read, batch, length=ids.shape[1])
        return self.writer.encode(ids, mask=mask, train=train, **injected)

    def _decode(
        self,
        ids: jax.Array,
        source: jax.Array,
        read: Signals,
        batch: Batch,
        train: bool,
    ) -> Decoded:
        """The decoder on known texts."""
        injected = self._injected("decoder", read, batch, length=ids.shape[1])
        given = dict(source=source, mask=batch["text_mask"], train=train)
        return self.writer.decode(ids, **given, **injected)

    def _write(self, source: jax.Array, read: Signals, batch: Batch) -> jax.Array:
        """The texts that it writes: [B, L] int32."""
        length = max(self.longest, self.written.length)

        def step(system: UniMSE, token: jax.Array, place: jax.Array, kept: Any) -> Any:
            where = dict(length=length, place=place)
            injected = system._injected("decoder", read, batch, **where)
            mask = batch["text_mask"]
            return system.writer.step(token, place, kept, mask=mask, **injected)

        caches = self.writer.start(source, length)
        return greedy(self, step, caches, config=self.encoder)

    def _contrast(
        self,
        stack: str,
        states: Sequence[jax.Array],
        mask: jax.Array,
        read: Signals,
        batch: Batch,
    ) -> jax.Array:
        """The sum over vision and audio of InfoNCE between them and what the last block of a stack reads."""
        total = jnp.zeros((), jnp.float32)
        for m in _SIGNALS:
            steps = read[m][1], batch[f"{m}_mask"]
            pair = self._mean(states[-2], mask), self._mean(*steps)
            where = self.present(batch, m)
            total += parallel.batch_mean(self.compare[stack](*pair, where), where=where)
        return total

    def _mean(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        """The mean over real steps, with `padded` over all, padding included: [B, L, D] -> [B, D]."""
        if not self.padded:
            return mean_pool(x, mask)
        return jnp.mean(x, axis=1)

    def _labels(self, chosen: jax.Array, known: jax.Array) -> jax.Array:
        """The labels of the answers [B], where they are known."""
        values = jnp.asarray(self.written.values, jnp.float32)[chosen]
        values = jnp.where(known, values, self.written.fallback)
        if not self.spec.classes:
            return values
        return jax.nn.one_hot(values.astype(jnp.int32), len(self.spec.classes))


class Signal(nn.Module):
    """An LSTM over audio or vision, and a vector of its last state, or with a width of 0 that state."""

    hidden: int
    dim: int
    dropout: float

    @nn.compact
    def __call__(
        self, x: jax.Array, mask: jax.Array, *, train: bool
    ) -> tuple[jax.Array, jax.Array]:
        """[B, L, D], mask [B, L] -> the vector [B, dim], and the states [B, L, hidden], zeros on padding."""
        states, last = LSTM(self.hidden, name="lstm")(x, mask, train=train)
        last = Dropout(self.dropout)(last, deterministic=not train)
        vector = Linear(self.dim, name="out")(last) if self.dim else last
        return vector, jnp.where(mask[..., None], states, 0)


class Contrast(nn.Module):
    """InfoNCE of texts and the signals of the same rows among those of the global batch."""

    dim: int
    temperature: float

    @nn.compact
    def __call__(self, text: jax.Array, signal: jax.Array, where: jax.Array):
        """[B, D], [B, E], rows that have the signal [B] bool -> [B] float32."""
        text = Linear(self.dim, bias=False, name="query")(text)
        signal = Linear(self.dim, bias=False, name="positive")(signal)
        found = parallel.gather(signal), parallel.gather(where)
        return losses.info_nce(
            text, signal, found[0], where=found[1], temperature=self.temperature
        )
