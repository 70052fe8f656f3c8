"""MMLatch: what two modalities say at the top masks the input of the third, which is then read again.

Paraskevopoulos, Georgiou and Potamianos, "MMLatch: Bottom-Up Top-Down Fusion for
Multimodal Sentiment Analysis", ICASSP 2022; the network is that of georgepar/mmlatch, as are
the defaults. Its fusion attends to padded steps and adds them up, which `padded` restores;
its dropout of the masks is active at test time too, so that predictions are random there:
ours is that of training alone. Unlike there, each modality is read over its own steps, so
that a row may lack one, and data that is not aligned can be pooled to the text's steps.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from msajax.data.spec import MODALITIES
from msajax.models.base import Batch, Model, Outputs
from msajax.nn.align import to_text
from msajax.nn.attention import attend, watched
from msajax.nn.dropout import Dropout
from msajax.nn.linear import Linear
from msajax.nn.recurrent import CELLS, Recurrent

_CHOICES = {"feedback": ("sequence", "static", "off"), "cell": tuple(CELLS)}


class MMLatch(Model):
    """Feedback of high-level representations to the inputs.

    Attributes:
      dim: width of all representations.
      feedback: what makes the masks of high-level steps: 'sequence', an LSTM over them,
        'static', a layer of each step alone; 'off' reads the inputs once.
      cell: cell of the networks that read the modalities: 'lstm' or 'gru'.
      bidirectional: whether these networks also read backwards; the sum of both
        directions is taken.
      align: pool audio and vision to the text's steps; False where they have a row for each.
      dropout: dropout rate of the networks that read the modalities.
      fusion_dropout: dropout rate of the fusion's attention and recurrent network.
      feedback_dropout: dropout rate of the LSTMs of the feedback.
      mask_dropout: dropout rate of the masks.
      padded: the fusion takes padded steps for real ones, as the authors' code.
    """

    dim: int = 100
    feedback: str = "sequence"
    cell: str = "lstm"
    bidirectional: bool = True
    align: bool = False
    dropout: float = 0.2
    fusion_dropout: float = 0.1
    feedback_dropout: float = 0.1
    mask_dropout: float = 0.2
    padded: bool = False

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Predictions.

        Args:
          batch: as in `Model`.
          train: as in `Model`.

        Returns:
          'pred'; m, [B, L, dim], each modality as it is fused; 'fused' [B, L, 7 dim] and
          'fusion' [B, 2 dim]; with feedback also 'first_m' [B, L, dim], each
          modality as it is read at first, and 'masked_m' [B, L, D], its input of the second time.
        """
        self.check_choices(_CHOICES)
        pooled = to_text(batch, self.spec.lengths, pool=self.align)
        found = (batch["text"], batch["text_mask"]), *pooled
        x = {m: v for m, (v, _) in zip(MODALITIES, found, strict=True)}
        masks = {m: v for m, (_, v) in zip(MODALITIES, found, strict=True)}
        cells = self.dim, self.cell, self.bidirectional
        read = {m: _Reader(*cells, self.dropout, name=m) for m in MODALITIES}
        out = {}
        if self.feedback != "off":
            first = {m: read[m](x[m], masks[m], train=train) for m in MODALITIES}
            x = {m: self._feed_back(m, x[m], first, masks, train) for m in MODALITIES}
            out = {f"first_{m}": h for m, h in first.items()}
            out |= {f"masked_{m}": h for m, h in x.items()}
        high = {m: read[m](x[m], masks[m], train=train) for m in MODALITIES}
        fused = self._fuse(high, masks, train)
        steps = masks["text"] | masks["audio"] | masks["vision"]
        last = _Reader(
            self.dim, "lstm", True, self.fusion_dropout, add=False, name="fusion"
        )
        h = last(fused, steps, train=train)
        counted = jnp.ones_like(steps) if self.padded else steps
        fusion = jnp.sum(jnp.where(counted[..., None], h, 0), axis=1)
        pred = Linear(self.spec.num_outputs, name="head")(fusion)
        return {
            "pred": self.squeeze_single(pred),
            **{**high, **out, "fused": fused, "fusion": fusion},
        }

    def _feed_back(
        self,
        m: str,
        x: jax.Array,
        high: dict[str, jax.Array],
        masks: dict[str, jax.Array],
        train: bool,
    ) -> jax.Array:
        """A modality's input times the mean of the masks that the other two make: [B, L, D]."""
        mask = jnp.zeros_like(x)
        for other in MODALITIES:
            if other == m:
                continue
            name = f"mask_{m}_by_{other}"
            if self.feedback == "static":
                h = Linear(x.shape[-1], name=name)(high[other])
            else:
                h = Recurrent(x.shape[-1], name=name)(high[other], masks[other])
                h = Dropout(self.feedback_dropout)(h, deterministic=not train)
            mask += nn.sigmoid(h) / 2
        self.sow("intermediates", f"gate_{m}", mask)
        return x * Dropout(self.mask_dropout)(mask, deterministic=not train)

    def _fuse(
        self, high: dict[str, jax.Array], masks: dict[str, jax.Array], train: bool
    ) -> jax.Array:
        """All modalities, their pairs and all three: [B, L, 7 dim]."""
        if self.padded:
            masks = {m: jnp.ones_like(mask) for m, mask in masks.items()}

        def cross(name: str, of: str, queries: jax.Array) -> jax.Array:
            attention = _Attention(self.fusion_dropout, name=name)
            return attention(high[of], queries, mask=masks[of], train=train)

        def pair(a: str, b: str) -> jax.Array:
            forth, back = (
                cross(f"{y}_to_{x}", x, high[y]) for x, y in ((a, b), (b, a))
            )
            return forth + high[b] + back + high[a]

        ta, va = pair("text", "audio"), pair("vision", "audio")
        tv, tav = pair("text", "vision"), cross("pair_to_text", "text", va)
        return jnp.concatenate([*high.values(), ta, tv, va, tav], axis=-1)


class _Reader(nn.Module):
    """A recurrent layer and attention of its steps to one another."""

    dim: int
    cell: str
    bidirectional: bool
    dropout: float
    add: bool = True

    @nn.compact
    def __call__(self, x, mask, *, train):
        """[B, L, D], mask [B, L] bool -> [B, L, dim], twice as wide if the directions are not added."""
        h = Recurrent(self.dim, self.cell, self.bidirectional, name="recurrent")(
            x, mask
        )
        h = Dropout(self.dropout)(h, deterministic=not train)
        if self.bidirectional and self.add:
            forward, backward = jnp.split(h, 2, axis=-1)
            h = forward + backward
        attention = _Attention(self.dropout, name="attention")
        return attention(h, h, mask=mask, train=train)


class _Attention(nn.Module):
    """Attention of one head, without biases and a last layer."""

    dropout: float

    @nn.compact
    def __call__(self, x, queries, *, mask, train):
        """Keys x [B, K, D] with mask [B, K] bool, queries [B, Q, D] -> [B, Q, D]."""

        def project(name, h):
            xavier = nn.initializers.xavier_uniform()
            layer = nn.Dense(x.shape[-1], use_bias=False, kernel_init=xavier, name=name)
            return layer(h)[:, :, None]  # [B, L, 1 head, D]

        drops = train and self.dropout > 0
        dropout = Dropout(self.dropout, deterministic=False) if drops else None
        q, k, v = project("query", queries), project("key", x), project("value", x)
        options: Any = dict(
            mask=mask[:, None, None], dropout=dropout, see=watched(self)
        )
        return attend(q, k, v, **options)[:, :, 0]
