"""AV-MC: every modality predicts its own label, and mixed audio or vision makes further examples.

Liu et al., "Make Acoustic and Visual Cues Matter: CH-SIMS v2.0 Dataset and AV-Mixup
Consistent Module", ICMI 2022; the network is that of the authors' code (V1 of
thuiar/ch-sims-v2), as are the defaults. Their text encoder is frozen: here it is
features (config.text.frozen), without the dropout that the authors' encoder keeps. Rows
without audio are not mixed in audio, and have no part in the loss on its label. The same holds
for vision.
As in their code, the mix is of averages over time, not of sequences, and in evaluation the
weighted loss without mixes picks the checkpoint.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from msajax.data.spec import MODALITIES
from msajax.models.base import Batch, Model, Outputs
from msajax.nn import mixup
from msajax.nn.dropout import Dropout
from msajax.nn.linear import Linear
from msajax.nn.mixup import Mixup
from msajax.nn.pooling import first_step, mean_pool
from msajax.nn.subnets import SubNet

_CHOICES = {"pooling": ("cls", "mean")}
_MIXED = ("audio", "vision")


class AVMC(Model):
    """Audio-visual mixup consistency.

    Labels of single modalities that the data lacks have neither a head nor a loss.

    Attributes:
      hidden_dims: widths of the text, audio and vision subnetworks.
      post_dims: widths of the layers behind the subnetworks.
      fusion_dim: width of the fusion.
      audio_dropout, vision_dropout: dropout rates of the subnetworks' inputs.
      post_dropouts: dropout rates of the subnetworks' outputs for text, audio and
        vision.
      fusion_dropout: dropout rate before the fusion.
      weights: weights of the losses on the label of all modalities, and on those of
        text, audio and vision.
      alpha: the mixup's share is from Beta(alpha, alpha).
      mixup: also train on mixed audio, and on mixed vision.
      pooling: the text's features: 'cls' their first step, or 'mean' ('cls' of a
        frozen XLNet is its last: take 'mean' for it).
      output_range: a regression's output lies between these two.
    """

    hidden_dims: tuple[int, int, int] = (64, 16, 16)
    post_dims: tuple[int, int, int] = (32, 32, 64)
    fusion_dim: int = 16
    audio_dropout: float = 0.1
    vision_dropout: float = 0.1
    post_dropouts: tuple[float, float, float] = (0.3, 0.3, 0.3)
    fusion_dropout: float = 0.3
    weights: tuple[float, float, float, float] = (1.0, 0.2, 0.8, 0.4)
    alpha: float = 1.0
    mixup: bool = True
    pooling: str = "cls"
    output_range: tuple[float, float] = (-1.0, 1.0)

    @property
    def notes(self) -> tuple[str, ...]:
        """Says which labels the data lacks."""
        lacking = [m for m in MODALITIES if m not in self._labelled]
        return tuple(
            f"the data has no label_{m}: {m} alone predicts nothing" for m in lacking
        )

    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Predictions; see `forward`."""
        return self.forward(self.vectors(batch), valid=batch["valid"], train=train)

    def vectors(self, batch: Batch) -> dict[str, jax.Array]:
        """Each modality as one vector: [B, Dm]."""
        self.check_choices(_CHOICES)
        means = {m: mean_pool(batch[m], batch[f"{m}_mask"]) for m in MODALITIES}
        if self.pooling == "cls":
            means["text"] = first_step(batch["text"], batch["text_mask"])
        return means

    @nn.compact
    def forward(
        self, x: dict[str, jax.Array], *, valid: jax.Array, train: bool
    ) -> Outputs:
        """The network.

        Args:
          x: made by `vectors`.
          valid: [B] bool.
          train: apply dropout; BatchNorm on batch statistics.

        Returns:
          'pred'; 'text', 'audio', 'vision' [B, post_dim] and 'fusion' [B, fusion_dim];
          'pred_text', ... [B] of the modalities that have a label.
        """
        options: Any = dict(valid=valid, train=train)
        text, audio, vision = self.hidden_dims
        subnet = {
            "audio": SubNet(audio, self.audio_dropout, name="audio"),
            "vision": SubNet(vision, self.vision_dropout, name="vision"),
        }
        h = {m: net(x[m], **options) for m, net in subnet.items()}
        h = {"text": Linear(text, name="text")(x["text"]), **h}
        out: Outputs = {}
        sizes = zip(MODALITIES, self.post_dims, self.post_dropouts, strict=True)
        for m, dim, dropout in sizes:
            y = Dropout(dropout)(h[m], deterministic=not train)
            for i in (1, 2):
                y = nn.relu(Linear(dim, name=f"post_{m}_{i}")(y))
            out[m] = y
            if m in self._labelled:
                out[f"pred_{m}"] = Linear(1, name=f"post_{m}_3")(y)[:, 0]

        y = jnp.concatenate([out[m] for m in MODALITIES], axis=-1)
        y = Dropout(self.fusion_dropout)(y, deterministic=not train)
        y = Linear(self.fusion_dim, name="post_fusion_1")(y)
        out["fusion"] = Linear(self.fusion_dim, name="post_fusion_2")(y)
        pred = Linear(self.spec.num_outputs, name="post_fusion_3")(out["fusion"])
        pred = self.squeeze_single(pred)
        if not self.spec.classes:
            low, high = self.output_range
            pred = low + (high - low) * nn.sigmoid(pred)
        return {"pred": pred, **out}

    def loss(
        self, batch: Batch, *, train: bool, progress: dict[str, jax.Array]
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The multi-task loss; in training also that on mixed audio, and on mixed vision."""
        del progress
        mixes = {}
        if train and self.mixup:
            for m in (m for m in _MIXED if m in self.spec.modalities):
                key, rows = self.make_rng("mixup"), self.present(batch, m)
                mixes[m] = mixup.draw(key, rows, alpha=self.alpha)
        return self.loss_of_mixes(batch, mixes, train=train)

    def loss_of_mixes(
        self, batch: Batch, mixes: dict[str, Mixup], *, train: bool
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The loss of given mixes: the network runs once on the batch, and once for each of them.

        Args:
          batch: as in `loss`.
          mixes: by the modality that is mixed.
          train: as in `loss`.

        Returns:
          As `loss`.
        """
        x = self.vectors(batch)
        options: Any = dict(valid=batch["valid"], train=train)
        out = self.forward(x, **options)
        losses = self.task_losses(out, batch)
        total = self._weighted(losses)
        terms = {"pred": out["pred"].astype(jnp.float32), **losses}
        for m, mix in mixes.items():
            mixed = {**x, m: mix.blend(x[m], mix.partners(x[m]))}
            losses = self.task_losses(self.forward(mixed, **options), batch, m, mix)
            terms[f"{m}_mix"] = self._weighted(losses)
            total += terms[f"{m}_mix"]
        return total, terms

    def task_losses(
        self, out: Outputs, batch: Batch, mixed: str = "", mix: Mixup | None = None
    ) -> dict[str, jax.Array]:
        """Losses on the labels, by 'all' and the modality.

        Where a modality is mixed, that on its label and that on the label of all are
        the mixture of the losses on both rows' labels.
        """

        def loss(name: str, label: jax.Array, batch: Batch) -> jax.Array:
            if name == "all":
                return self.task_loss(out["pred"], {**batch, "label": label})
            batch = {**batch, f"label_{name}": label}
            return self.loss_of_modality(out[f"pred_{name}"], batch, name)

        partners = batch
        if mix is not None and "labelled" in batch:
            partners = {**batch, "labelled": mix.partners(batch["labelled"])}
        losses = {}
        for name in ("all", *self._labelled):
            label = batch["label" if name == "all" else f"label_{name}"]
            losses[name] = loss(name, label, batch)
            if mix is not None and name in ("all", mixed):
                other = loss(name, mix.partners(label), partners)
                losses[name] = mix.blend(losses[name], other)
        return losses

    def _weighted(self, losses: dict[str, jax.Array]) -> jax.Array:
        weights: dict[str, float] = dict(
            zip(("all", *MODALITIES), self.weights, strict=True)
        )
        total = jnp.zeros(())
        for name, loss in losses.items():
            total += weights[name] * loss
        return total

    @property
    def _labelled(self) -> tuple[str, ...]:
        """Modalities whose own label the data has."""
        return tuple(m for m in MODALITIES if f"label_{m}" in self.spec.fields)
