"""MFON: text guides attention to prompted audio and vision, which two losses optimise further.

Zhang, Wei and Zou, "Modal Feature Optimization Network with Prompt for
Multimodal Sentiment Analysis", COLING 2025; the network is that of the authors'
code, as are the defaults (its folder MOSI). There only one query is used,
position 0 of the text, and queries do not see each other: so only that one is
computed. Unlike in their code, padding is not attended to, every step has a position,
and frozen teachers run without dropout; `padded` and `fairseq_zero_pos` restore
the first two.
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from msajax import losses, parallel
from msajax.data.spec import MODALITIES
from msajax.encoders import Encoder
from msajax.encoders.steps import make_encoder, own_steps, text_steps
from msajax.encoders.summary import step_zero
from msajax.models.base import Batch, Model, Outputs
from msajax.nn.activations import gelu
from msajax.nn.dropout import Dropout
from msajax.nn.linear import Linear
from msajax.nn.pooling import mean_pool
from msajax.nn.transformer import CrossmodalEncoder

_TAUGHT = ("audio", "vision")
_CHOICES = {
    "query": MODALITIES,
    "modality": ("", *MODALITIES),
    "mask": ("static", "sample", "none"),
    "pooling": ("cls", "mean"),
}


class MFON(Model):
    """Modal Feature Optimization Network.

    Train it in phases: 'vision_loss' and 'audio_loss' the teachers, 'loss' all else.

    Attributes:
      encoder: the network that reads word pieces, from config.text; None takes
        the text features of the data.
      dim: common width d.
      heads: number of heads of every attention.
      layers: number of layers of the Modal Prompt Attention (MPA) of audio and of
        vision; the text has as many as the query that it replaces.
      teacher_layers, teacher_dropouts: number of layers and dropout rates of the
        teachers of audio and of vision.
      dropout: dropout rate in MPA: on attention weights, inside and behind its blocks,
        and on its inputs.
      text_dropout: dropout rate of the projected text.
      query: the modality that guides the two others.
      pooling: the guide's one query: 'cls' its position 0 (`step_zero`), 'mean' that of its
        real steps, for features without a step for the whole sequence there.
      mask: keys that the query sees in MPA. The authors' mask, keys 0..|T - L|, has
        the padded length T of the keys and for L the longest text of the batch:
        'static' takes for both what the training split is padded to (spec.lengths),
        'sample' the sample's own L, 'none' hides no real key (padding: see `padded`).
      causal_teachers: the mask of the authors' folder SIMS, where a teacher sees
        one frame.
      attention: False takes the mean of a modality's real steps instead of MPA.
      prompts: add prompts to what MPA reads, cut to the batch's length.
      distillation, contrast: weights of the two losses; 0 leaves one out, and
        without distillation there are no teachers.
      reverse_kl: KL as equation (6) prints it; the authors' code swaps its sides.
      own_labels: train the teachers on the labels of their modalities.
      modality: the network of one modality alone.
      padded: take padded audio and vision for real steps.
      fairseq_zero_pos: no position vector where feature 0 is exactly 0.
      remat: recompute activations of layers in the backward pass: less memory.
      scan: compile one layer of the encoder for all.
    """

    criterion: str = "mse"
    encoder: Encoder | None = None
    dim: int = 768
    heads: int = 8
    layers: tuple[int, int] = (5, 2)
    teacher_layers: tuple[int, int] = (3, 4)
    teacher_dropouts: tuple[float, float] = (0.0, 0.3)
    dropout: float = 0.1
    text_dropout: float = 0.3
    query: str = "text"
    pooling: str = "cls"
    mask: str = "static"
    causal_teachers: bool = False
    attention: bool = True
    prompts: bool = True
    distillation: float = 0.5
    contrast: float = 0.5
    reverse_kl: bool = False
    own_labels: bool = False
    modality: str = ""
    padded: bool = False
    fairseq_zero_pos: bool = False
    remat: bool = False
    scan: bool = False

    def setup(self):
        """Makes the parts that the fields ask for."""
        self.check_choices(_CHOICES)
        alone = self.modality in _TAUGHT
        taught = _TAUGHT if self.distillation and not self.modality else ()
        taught = (self.modality,) if alone else taught
        self.teacher = {m: self._teacher(m) for m in taught}
        if alone:
            return
        streams = [self.modality] if self.modality else MODALITIES
        if "text" in streams:
            self.bert = make_encoder(self.encoder, remat=self.remat, scan=self.scan)
        self.project = {m: Linear(self.dim) for m in streams}
        self.drop_text = Dropout(self.text_dropout)
        attended = [m for m in streams if m != self._guide]
        self.mpa = {m: self._attention(m) for m in attended if self.attention}
        uniform = nn.initializers.uniform(1.0)
        self.prompt = {
            m: self.param(f"prompt_{m}", uniform, (self._lengths[m], self.dim))
            for m in self.mpa
            if self.prompts
        }
        self.decoder = _MLP((self.dim, *self._widths))

    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Predictions; also the vectors x_m of the modalities, and their teachers'."""
        if self.modality in _TAUGHT:
            x, pred = self._unimodal(self.modality, batch, train)
            return {"pred": pred, self.modality: x}
        f = self.features(batch, train=train)
        x = self.represent(f, own_steps(batch), train=train)
        # Equations (10) and (11), in the order of the authors' code
        order = [x[m] for m in ("text", "vision", "audio") if m in x]
        pred = self.decoder(jnp.concatenate(order, axis=-1))
        # The frozen teachers run without dropout.
        taught = {
            f"teacher_{m}": jax.lax.stop_gradient(self._unimodal(m, batch, False)[0])
            for m in self.teacher
        }
        return {"pred": self.squeeze_single(pred), **x, **taught}

    # Modal Prompt Attention (section 3.2) ------------------------------------

    def features(self, batch: Batch, *, train: bool) -> dict[str, jax.Array]:
        """Equations (1) to (4): sequences of the common width, prompts added.

        Returns:
          {modality: [B, L, dim]}.
        """
        if "text" in self.project:
            batch = text_steps(self.bert, batch, train=train)
        f = {m: project(batch[m]) for m, project in self.project.items()}
        if "text" in f:
            f["text"] = self.drop_text(f["text"], deterministic=not train)
        for m, prompt in self.prompt.items():
            f[m] += prompt[None, : f[m].shape[1]]
        return f

    def represent(
        self, f: dict[str, jax.Array], batch: Batch, *, train: bool
    ) -> dict[str, jax.Array]:
        """Equation (5), for the one query that is used; without attention, means.

        Args:
          f: made by `features`.
          batch: has the masks.
          train: apply dropout.

        Returns:
          {modality: [B, dim]}, the guide's query itself among them.
        """
        guide, steps = self._guide, batch[f"{self._guide}_mask"]
        encoder = self.encoder if guide == "text" else None
        mean = self.pooling == "mean"
        query = f[guide]
        query = mean_pool(query, steps) if mean else step_zero(encoder, query, steps)
        x, one = {guide: query}, jnp.ones((query.shape[0], 1), bool)
        for m in (m for m in f if m != guide):
            if m not in self.mpa:
                x[m] = mean_pool(f[m], self._steps(m, batch))
                continue
            keys = self._steps(m, batch) & self._visible(m, batch)
            masks = dict(mask=one, source_mask=keys)
            x[m] = self.mpa[m](query[:, None], f[m], **masks, train=train)[:, 0]
        return x

    def _steps(self, m: str, batch: Batch) -> jax.Array:
        """Steps of modality m that count as real: [B, L] bool."""
        mask = batch[f"{m}_mask"]
        return jnp.ones_like(mask) if self.padded else mask

    def _visible(self, m: str, batch: Batch) -> jax.Array:
        """Keys of modality m that the causal mask shows to query 0: [B or 1, L] bool."""
        keys = jnp.arange(batch[f"{m}_mask"].shape[1])[None]
        if self.mask == "none":
            return keys >= 0
        queries: Any = self._lengths[self._guide]
        if self.mask == "sample":
            queries = jnp.sum(batch[f"{self._guide}_mask"], axis=1, keepdims=True)
        return keys <= jnp.abs(self._lengths[m] - queries)

    # Intra-modal Knowledge Distillation (section 3.3) --------------------------

    def vision_loss(self, batch: Batch, *, train: bool, progress: dict) -> Any:
        """Loss of the vision teacher's predictions."""
        return self._teacher_loss("vision", batch, train)

    def audio_loss(self, batch: Batch, *, train: bool, progress: dict) -> Any:
        """Loss of the audio teacher's predictions."""
        return self._teacher_loss("audio", batch, train)

    def vision_pred(self, batch: Batch, *, train: bool) -> Outputs:
        """Predictions of the vision teacher."""
        return {"pred": self._unimodal("vision", batch, train)[1]}

    def audio_pred(self, batch: Batch, *, train: bool) -> Outputs:
        """Predictions of the audio teacher."""
        return {"pred": self._unimodal("audio", batch, train)[1]}

    def _teacher_loss(self, m: str, batch: Batch, train: bool) -> Any:
        _, pred = self._unimodal(m, batch, train)
        if self.own_labels:
            if f"label_{m}" not in batch:
                raise ValueError(
                    f"the data has no label_{m} to train a teacher on; set "
                    "config.model.own_labels=False to take the label of all modalities"
                )
            batch = {**batch, "label": batch[f"label_{m}"]}
        return self.task_loss(pred, batch), {}

    def _unimodal(
        self, m: str, batch: Batch, train: bool
    ) -> tuple[jax.Array, jax.Array]:
        """Vector [B, dim] and predictions of a modality alone."""
        x, pred = self.teacher[m](batch[m], mask=self._steps(m, batch), train=train)
        return x, self.squeeze_single(pred)

    # The losses (sections 3.4 and 3.5) -----------------------------------------

    def loss(
        self, batch: Batch, *, train: bool, progress: dict[str, jax.Array]
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Equation (13); in evaluation equation (12) alone, which picks the checkpoint."""
        out = self(batch, train=train)
        pred = out["pred"].astype(jnp.float32)
        task = self.task_loss(pred, batch)
        if not train or self.modality:
            return task, {"pred": pred}
        kl = {f"kl_{m}": self._distil(out, m, batch) for m in self.teacher}
        others = [m for m in self.project if m != self._guide]
        nce = {f"nce_{m}": self._contrast(out, m, batch) for m in others}
        nce = nce if self.contrast else {}
        total = task + self.distillation * sum(kl.values())
        total += self.contrast * sum(nce.values())
        return total, {"task": task, **kl, **nce}

    def _distil(self, out: Outputs, m: str, batch: Batch) -> jax.Array:
        """Equation (6): divergence between a modality's vector and its teacher's, of rows that have it."""
        sides = out[f"teacher_{m}"], out[m]
        values = losses.softmax_kl(*(sides[::-1] if self.reverse_kl else sides))
        return parallel.batch_mean(values, where=self._present(batch, m))

    def _contrast(self, out: Outputs, m: str, batch: Batch) -> jax.Array:
        """Equations (7) and (8): the guide among those of the global batch, of rows that have both."""
        guide = out[self._guide]
        candidates, where = map(parallel.gather, (guide, batch["valid"]))
        values = losses.info_nce(out[m], guide, candidates, where=where)
        where = self._present(batch, m, self._guide)
        return parallel.batch_mean(values, where=where)

    def _present(self, batch: Batch, *modalities: str) -> jax.Array:
        """Rows that count and have each of the modalities: [B] bool."""
        has = [jnp.any(self._steps(m, batch), axis=1) for m in modalities]
        return functools.reduce(jnp.logical_and, has, batch["valid"])

    # The parts -----------------------------------------------------------------

    @property
    def _guide(self) -> str:
        return self.modality or self.query

    @property
    def _lengths(self) -> dict[str, int]:
        return dict(zip(MODALITIES, self.spec.lengths, strict=True))

    def _teacher(self, m: str) -> "_Unimodal":
        i = _TAUGHT.index(m)
        encoder = self._encoder(self.teacher_layers[i], self.teacher_dropouts[i])
        return _Unimodal(
            encoder, self.dim, widths=self._widths, causal=self.causal_teachers
        )

    def _attention(self, m: str) -> nn.Module:
        place = self.query if m == "text" else m
        return self._encoder(self.layers[_TAUGHT.index(place)], self.dropout)()

    def _encoder(self, layers: int, dropout: float) -> Callable[..., nn.Module]:
        """Makes Transformers whose mask is in the keys that they are given."""
        return functools.partial(
            CrossmodalEncoder,
            heads=self.heads,
            layers=layers,
            expansion=1,
            causal=False,
            fairseq_zero_pos=self.fairseq_zero_pos,
            attention_dropout=dropout,
            relu_dropout=dropout,
            residual_dropout=dropout,
            embed_dropout=dropout,
            remat=self.remat,
        )

    @property
    def _widths(self) -> tuple[int, ...]:
        """Of the last layers of every predictor."""
        return self.dim // 2, self.dim // 8, self.spec.num_outputs


class _Unimodal(nn.Module):
    """A modality alone: projection, self-attention, and a predictor on position 0."""

    make_encoder: Callable[..., nn.Module]
    dim: int
    widths: tuple[int, ...]
    causal: bool

    @nn.compact
    def __call__(self, x, *, mask, train):
        if self.causal:  # position 0 sees itself alone
            x, mask = x[:, :1], mask[:, :1]
        h = Linear(self.dim, name="project")(x)
        h = self.make_encoder(name="encoder")(h, mask=mask, train=train)[:, 0]
        return h, _MLP(self.widths, name="classifier")(h)


class _MLP(nn.Module):
    """Linear layers with GELUs between them."""

    widths: tuple[int, ...]

    @nn.compact
    def __call__(self, x):
        for i, width in enumerate(self.widths):
            x = gelu(x) if i else x
            x = Linear(width, name=f"linear_{i}")(x)
        return x
