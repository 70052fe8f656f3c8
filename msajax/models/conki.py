"""ConKI, built from the published description: knowledge of another data set, injected by adapters and contrasted.

Yu, Zhao, Qi, Sun, Wang, Guo, Wang, Yang and Niu, "ConKI: Contrastive Knowledge Injection for
Multimodal Sentiment Analysis", Findings of ACL 2023. There is no public code, and only its
abstract was read. Established: of each modality a general representation by its backbone and
one of specific knowledge by adapters, and a hierarchical contrast: between the two kinds,
between modalities of a sample, and between samples. All else is ours, and a field: the
backbones (Transformers behind a linear layer, or behind a text encoder), the adapters (one
for each layer, whose joined outputs a Transformer reads), one supervised contrastive loss
for all three levels, the sizes and weights. `knowledge_loss` trains adapters and backbones on
the other data set, in a run of its own; a second run takes them (`config.init_from`). No figure of the
paper is claimed.
"""

from typing import Annotated, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from annotated_types import Gt

from msajax import losses, parallel
from msajax.data.spec import MODALITIES
from msajax.encoders import Encoder
from msajax.encoders.steps import make_encoder, text_steps
from msajax.models.base import Batch, Model, Outputs
from msajax.nn.linear import FeedForward, Linear
from msajax.nn.pooling import mean_pool
from msajax.nn.post_norm import PostNormLayer

Width = Annotated[int, Gt(0)]


class ConKI(Model):
    """Contrastive knowledge injection.

    A modality that the data lacks has no parameters.

    Attributes:
      encoder: the network that reads word pieces, from config.text; None takes the text
        features of the data.
      dim: width of all representations.
      layers, heads, hidden: number of layers and of heads of each backbone, and width of its
        feed-forward blocks.
      adapter_dim: width of an adapter's middle.
      adapter_layers: number of layers of the Transformer over the adapters' outputs.
      out_dim: width of the hidden layer of the output.
      dropout: dropout rate in all Transformers and before the last layer.
      contrast: weight of the contrastive loss.
      temperature: divisor of the cosines in the contrast.
      remat, scan: options of the encoder's layers, as in `TextOnly`.
    """

    encoder: Encoder | None = None
    dim: Width = 64
    layers: Width = 2
    heads: Width = 4
    hidden: Width = 128
    adapter_dim: Width = 16
    adapter_layers: int = 1
    out_dim: Width = 64
    dropout: float = 0.1
    contrast: float = 0.1
    temperature: Annotated[float, Gt(0)] = 0.5
    remat: bool = False
    scan: bool = False

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Predictions.

        Returns:
          'pred'; of the M modalities that the data has, in order: 'general' and 'specific'
          [B, M, dim], and 'knowledge' [B, M] (of classes [B, M, C]), what each of the
          specific ones alone predicts; 'fusion' [B, 2 M dim].
        """
        names = self._streams()
        if "text" in names:
            encoder = make_encoder(self.encoder, remat=self.remat, scan=self.scan)
            batch = text_steps(encoder, batch, train=train)
        pairs = [self._read(m, batch, train) for m in names]
        general, specific = (jnp.stack(x, axis=1) for x in zip(*pairs, strict=True))
        alone = [
            Linear(self.spec.num_outputs, name=f"knowledge_{m}")(specific[:, i])
            for i, m in enumerate(names)
        ]
        both = jnp.concatenate([general, specific], axis=1)
        fusion = both.reshape(both.shape[0], -1)
        outputs = self.spec.num_outputs
        head = FeedForward(self.out_dim, outputs, self.dropout, name="out")
        return {
            "pred": self.squeeze_single(head(fusion, train=train)),
            "general": general,
            "specific": specific,
            "knowledge": self.squeeze_single(jnp.stack(alone, axis=1)),
            "fusion": fusion,
        }

    def loss(
        self, batch: Batch, *, train: bool, progress: dict[str, jax.Array]
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The task's loss and the weighted contrast; in evaluation the task's alone."""
        del progress
        out = self(batch, train=train)
        pred = out["pred"].astype(jnp.float32)
        task = self.task_loss(pred, batch)
        if not train:
            return task, {"pred": pred}
        contrast = self._contrast(out, batch)
        return task + self.contrast * contrast, {"task": task, "contrast": contrast}

    def knowledge_loss(
        self, batch: Batch, *, train: bool, progress: dict[str, jax.Array]
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The mean of the losses of what each specific representation alone predicts."""
        del progress
        pred = self(batch, train=train)["knowledge"].astype(jnp.float32)
        total = jnp.zeros(())
        for i, m in enumerate(names := self._streams()):
            has = jnp.any(batch[f"{m}_mask"], axis=1)
            rows = {**batch, "labelled": batch.get("labelled", True) & has}
            total += self.task_loss(pred[:, i], rows) / len(names)
        return total, {}

    def knowledge(self, batch: Batch, *, train: bool) -> Outputs:
        """What the specific representations alone predict, on average: the prediction of that phase."""
        return {"pred": jnp.mean(self(batch, train=train)["knowledge"], axis=1)}

    def _streams(self) -> list[str]:
        return [m for m in MODALITIES if m in self.spec.modalities]

    def _read(self, m: str, batch: Batch, train: bool) -> tuple[jax.Array, jax.Array]:
        """The general and the specific representation of a modality: [B, dim] each."""
        x, mask = batch[m], batch[f"{m}_mask"]
        visible = jnp.broadcast_to(mask[:, None], (*mask.shape, mask.shape[1]))
        options: Any = dict(mask=visible, train=train)
        settings = (self.heads, self.hidden, self.dropout)
        h, adapted = Linear(self.dim, name=f"project_{m}")(x), []
        for i in range(self.layers):
            h = PostNormLayer(*settings, name=f"backbone_{m}_{i}")(h, **options)
            middle = nn.gelu(Linear(self.adapter_dim, name=f"adapter_{m}_{i}_down")(h))
            adapted.append(Linear(self.dim, name=f"adapter_{m}_{i}_up")(middle))
        joined = jnp.concatenate(adapted, axis=-1)
        a = Linear(self.dim, name=f"adapter_{m}_join")(joined)
        for i in range(self.adapter_layers):
            a = PostNormLayer(*settings, name=f"adapter_{m}_layer_{i}")(a, **options)
        return mean_pool(h, mask), mean_pool(a, mask)

    def _contrast(self, out: Outputs, batch: Batch) -> jax.Array:
        """The contrastive loss over the global batch's rows that have a label."""
        own = jnp.stack([self.present(batch, m) for m in self._streams()], axis=1)
        has = own & self.counted(batch)[:, None]
        label = batch["label"]
        group = label if self.spec.classes else jnp.round(label).astype(jnp.int32)
        arrays = (out["general"], out["specific"], has, group)
        general, specific, has, group = map(parallel.gather, arrays)
        return knowledge_contrast(
            general, specific, group, where=has, temperature=self.temperature
        )


def knowledge_contrast(
    general: jax.Array,
    specific: jax.Array,
    group: jax.Array,
    *,
    where: jax.Array,
    temperature: float,
) -> jax.Array:
    """Supervised contrast by cosine: a representation is like those of its kind and group, and unlike all others.

    Positives of an anchor are the representations of its own kind, of the same row's other
    modalities and of rows of the same group; negatives are those of the other kind, and of
    other groups.

    Args:
      general, specific: [N, M, D].
      group: [N] int32, of the rows.
      where: [N, M] bool, False on what does not count.
      temperature: T.

    Returns:
      A scalar, the mean over the anchors that have a positive; 0 without any.
    """
    n, modalities, width = general.shape
    both = jnp.stack([general, specific]).reshape(-1, width)
    kind = jnp.repeat(jnp.arange(2), n * modalities)
    groups = 2 * jnp.tile(jnp.repeat(group, modalities), 2) + kind
    counts = jnp.tile(where.reshape(-1), 2)
    return losses.supervised_contrast(
        both, groups, where=counts, temperature=temperature
    )
