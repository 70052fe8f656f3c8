"""MMML: text and audio attend to each other; they and their fusion have a loss each.

Wu, Gong, Koo and Hirschberg, "Multimodal Multi-loss Fusion Network for Sentiment
Analysis", NAACL 2024; the network is the one with context of the authors' code
(zehuiwu/MMML @ 7db207b), as are the defaults. What differs:
- The text's neighbours (config.text.context) are encoded apart from the utterance and share
  its layers, as in the authors' code: of the joined sequence the utterance's own pieces are
  one sequence, its ends and the neighbours' pieces another (two rows of `max_length` for
  the encoder). `context="joined"` instead lets the encoder read all in one sequence, and
  the layers the utterance's own steps alone, as in every other system here.
- The audio has no neighbours, as in the authors' code at the beginning of a video: the
  neighbours' text attends to the learned row in front of no audio, and their audio has no
  share in the audio's own prediction.
- The authors read the frames that padding gives data2vec-audio; here a wave has the frames
  that it has alone (`msajax/encoders/README.md`), and encoders of other widths than `dim`
  are projected to it. Where there is no voice encoder, features of the audio are.
- Without neighbours the fusion has the layers that it has with them (768, not 768 and 512).
- The paper has squared errors, the code (and the default) absolute ones.
Vision is not read.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from msajax.data.spec import suggest
from msajax.encoders import Encoder, Voice
from msajax.encoders.steps import make_encoder, own_states, text_vector
from msajax.models.base import Batch, Model, Outputs
from msajax.nn.attention import attend, watched
from msajax.nn.dropout import Dropout
from msajax.nn.linear import Linear
from msajax.nn.masks import front, to_front
from msajax.nn.norm import LayerNorm
from msajax.nn.pooling import mean_pool

_CHOICES = {"context": ("apart", "joined")}
_TASKS = ("text", "audio")
# A sequence [B, L, D], its real steps [B, L] bool, and one vector for it [B, D].
Sequence = tuple[jax.Array, jax.Array, jax.Array]


class MMML(Model):
    """Multimodal multi-loss fusion.

    Attributes:
      encoder: the network that reads word pieces, from config.text; None takes the
        text features of the data.
      voice: the network that reads waves, from config.audio; None takes the audio features
        of the data.
      tasks: modalities that predict the label by themselves too.
      context: how the text's neighbours are read: 'apart' or 'joined'.
      dim: width of the layers in which text and audio attend to each other.
      layers, heads: their number, and that of the heads of each of their attentions.
      hidden_dim: width of the layer in front of the prediction.
      fusion_dropout: dropout rate in the layers.
      dropout: dropout rate in front of the predictions.
      remat, scan: options of the encoders' layers, as in `TextOnly`.

    Raises:
      ValueError: an unknown task.
    """

    encoder: Encoder | None = None
    voice: Voice | None = None
    tasks: tuple[str, ...] = _TASKS
    context: str = "apart"
    dim: int = 1024
    layers: int = 5
    heads: int = 16
    hidden_dim: int = 768
    fusion_dropout: float = 0.3
    dropout: float = 0.3
    remat: bool = False
    scan: bool = False

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Predictions.

        Args:
          batch: as in `Model`.
          train: as in `Model`.

        Returns:
          'pred' and 'fusion' [B, 2 dim], or [B, 4 dim] with neighbours apart; of each task m
          'pred_m', like 'pred'.
        """
        self.check_choices(_CHOICES)
        for m in set(self.tasks) - set(_TASKS):
            raise ValueError(f'config.model.tasks has "{m}"{suggest(m, _TASKS)}')
        texts, audio = self._texts(batch, train), self._audio(batch, train)
        first = self._fused(texts, audio, train)
        vectors = dict(
            text=jnp.concatenate([vector for _, _, vector in texts], axis=-1),
            audio=audio[2],
            fusion=jnp.concatenate(first, axis=-1),
        )
        drop = Dropout(self.dropout, deterministic=not train)
        out: Outputs = {"fusion": vectors["fusion"]}
        for m, h in vectors.items():
            if m == "fusion":
                h = nn.relu(Linear(self.hidden_dim, name="fusion_1")(drop(h)))
                pred = Linear(self.spec.num_outputs, name="fusion_2")(h)
                out["pred"] = self.squeeze_single(pred)
            elif m in self.tasks:
                pred = Linear(self.spec.num_outputs, name=f"head_{m}")(drop(h))
                out[f"pred_{m}"] = self.squeeze_single(pred)
        return out

    def loss(
        self, batch: Batch, *, train: bool, progress: dict[str, jax.Array]
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The sum of the losses of the fusion and of each task, whose rows have its modality; also in evaluation."""
        del progress
        out = self(batch, train=train)
        pred = out["pred"].astype(jnp.float32)
        terms = {"fusion": self.task_loss(pred, batch)}
        for m in self.tasks:
            rows = {**batch, "valid": self.present(batch, m)}
            terms[m] = self.task_loss(out[f"pred_{m}"].astype(jnp.float32), rows)
        return sum(terms.values(), start=jnp.zeros(())), {"pred": pred, **terms}

    def _texts(self, batch: Batch, train: bool) -> list[Sequence]:
        """The utterance's text, and where they are apart that of its neighbours."""
        settings = dict(pooler=True, remat=self.remat, scan=self.scan)
        encoder: Any = make_encoder(self.encoder, **settings)
        if encoder is None:
            x, mask = batch["text"], batch["text_mask"]
            return [(x, mask, mean_pool(x, mask))]
        apart = self.context == "apart" and "text_own" in batch
        read = _apart(batch) if apart else batch
        masks = dict(mask=read["text_mask"], segments=read["text_type"])
        encoded = encoder(read["text_ids"], **masks, train=train)
        vector = text_vector(encoded, read)
        if apart:  # [2 B, ...]: utterances, then neighbours
            found = (encoded.last, read["text_mask"], vector)
            halves = (jnp.split(x, 2) for x in found)
            return list(zip(*halves, strict=True))
        own = front(batch["text_own"]) if "text_own" in batch else batch["text_mask"]
        return [(own_states(encoded.last, batch), own, vector)]

    def _audio(self, batch: Batch, train: bool) -> Sequence:
        x, mask = batch["audio"], batch["audio_mask"]
        if self.voice is not None:
            settings = dict(dtype=None, remat=self.remat, scan=self.scan)
            voice = self.voice.encoder(**settings, name="voice")
            encoded = voice(x[..., 0], mask=mask, train=train)
            x, mask = encoded.last, encoded.mask
        return x, mask, mean_pool(x, mask)

    def _fused(
        self, texts: list[Sequence], audio: Sequence, train: bool
    ) -> list[jax.Array]:
        """The learned rows behind the layers, [B, dim] each: of the texts, then of the audios."""
        with_cls = {m: _Begin(self.dim, name=f"begin_{m}") for m in _TASKS}
        settings = self.layers, self.heads, self.fusion_dropout
        layers = CrossModalEncoder(*settings, name="layers")
        sound = with_cls["audio"](*audio[:2])
        first: dict[str, list[jax.Array]] = {m: [] for m in _TASKS}
        for x, mask, _ in texts:
            pair = layers(with_cls["text"](x, mask), sound, train=train)
            for m, h in zip(_TASKS, pair, strict=True):
                first[m].append(h[:, 0])
            sound = sound[0][:, :1], sound[1][:, :1]  # neighbours have no audio
        return [*first["text"], *first["audio"]]


def _apart(batch: Batch) -> Batch:
    """Utterances, then their neighbours between the ends of the joined text, as rows of their own: [2 B, L]."""
    mask, own = batch["text_mask"], batch["text_own"]
    place, count = jnp.cumsum(mask, axis=1), jnp.sum(mask, axis=1, keepdims=True)
    ends = mask & ((place == 1) | (place == count))
    steps = jnp.concatenate([own, mask & (~own | ends)])
    # The neighbours' segments are the second, which they have beside another text alone.
    read = {"text_ids": batch["text_ids"]}
    read["text_type"] = jnp.where(own, batch["text_type"], 0)
    found: Batch = {
        k: to_front(jnp.tile(v, (2, 1))[..., None], steps)[..., 0]
        for k, v in read.items()
    }
    return {**found, "text_mask": front(steps)}


class _Begin(nn.Module):
    """A sequence in the common width, with a learned row in front."""

    dim: int

    @nn.compact
    def __call__(self, x, mask):
        """[B, L, any], [B, L] bool -> [B, 1 + L, dim], [B, 1 + L] bool."""
        if x.shape[-1] != self.dim:
            x = Linear(self.dim, name="project")(x)
        row = self.param("row", nn.initializers.normal(1.0), (1, 1, self.dim))
        rows = jnp.broadcast_to(row.astype(x.dtype), (x.shape[0], 1, self.dim))
        real = jnp.ones((x.shape[0], 1), bool)
        return jnp.concatenate([rows, x], axis=1), jnp.concatenate([real, mask], axis=1)


class CrossModalEncoder(nn.Module):
    """Layers in which two sequences attend to each other; compiled once, so that parameters have a leading axis [layers].

    Attributes:
      layers, heads, dropout: as in `MMML`.
    """

    layers: int
    heads: int
    dropout: float = 0.0

    @nn.compact
    def __call__(
        self,
        text: tuple[jax.Array, jax.Array],
        audio: tuple[jax.Array, jax.Array],
        *,
        train: bool,
    ) -> tuple[jax.Array, jax.Array]:
        """Two ([B, L, D], mask [B, L] bool), whose L differ -> two [B, L, D]."""
        masks = text[1], audio[1]
        stack = nn.scan(
            lambda layer, pair, _: (layer(pair, masks, train=train), None),
            variable_axes={"params": 0, "intermediates": 0},
            split_rngs={"params": True, "dropout": True},
            length=self.layers,
            # The check would hoist a layer's constants, iotas of the weights' size too.
            check_constancy_invariants=False,
        )
        layer = _Layer(self.heads, self.dropout, name="layer")
        return stack(layer, (text[0], audio[0]), None)[0]


class _Layer(nn.Module):
    """Attention to the other sequence, to itself, and a feed-forward block, of each with weights of its own."""

    heads: int
    dropout: float

    @nn.compact
    def __call__(self, pair, masks, *, train):
        """Two [B, L, D], two [B, L] bool -> two [B, L, D]."""

        def attention(kind, i, x, j):
            block = _Attention(self.heads, self.dropout, name=f"{_TASKS[i]}_{kind}")
            return block(x[i], x[j], masks[j], train=train)

        crossed = [attention("cross", i, pair, 1 - i) for i in (0, 1)]
        own = [attention("self", i, crossed, i) for i in (0, 1)]
        blocks = (_FeedForward(self.dropout, name=f"{m}_feed_forward") for m in _TASKS)
        return tuple(f(x, train=train) for f, x in zip(blocks, own, strict=True))


class _Attention(nn.Module):
    """Attention of a sequence to another or itself, added to it and normalised."""

    heads: int
    dropout: float

    @nn.compact
    def __call__(self, x, source, mask, *, train):
        """[B, Q, D], [B, K, D], [B, K] bool -> [B, Q, D]."""
        dim = x.shape[-1]
        if dim % self.heads:
            raise ValueError(
                f"config.model.heads is {self.heads}, which does not divide "
                f"config.model.dim, {dim}; set it to a divisor"
            )

        def project(name, h):
            return Linear(dim, name=name)(h).reshape(*h.shape[:2], self.heads, -1)

        drop = Dropout(self.dropout, deterministic=not train)
        q, k, v = project("query", x), project("key", source), project("value", source)
        options: Any = dict(mask=mask[:, None, None], dropout=drop, see=watched(self))
        h = attend(q, k, v, **options).reshape(x.shape)
        return _added(drop(Linear(dim, name="out")(h)), x)


class _FeedForward(nn.Module):
    """Two linear layers, the first of them four times as wide, added and normalised."""

    dropout: float

    @nn.compact
    def __call__(self, x, *, train):
        """[B, L, D] -> [B, L, D]."""
        dim = x.shape[-1]
        h = nn.relu(Linear(4 * dim, name="fc1")(x))
        h = Linear(dim, name="fc2")(h)
        return _added(Dropout(self.dropout, deterministic=not train)(h), x)


def _added(h: jax.Array, x: jax.Array) -> jax.Array:
    """The norm of the sum of a block's output and input, within the block."""
    return LayerNorm(epsilon=1e-12, name="norm")(h + x)
