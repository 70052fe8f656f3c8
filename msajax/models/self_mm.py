"""Self-MM: each modality is trained on a label of its own, which is learned from the label of all.

Yu et al., "Learning Modality-Specific Representations with Self-Supervised Multi-Task
Learning for Multimodal Sentiment Analysis", AAAI 2021; the network and the generation of
labels are those of thuiar/MMSA, as are the defaults (CMU-MOSI). Features and labels of
all training rows are a memory, the collection 'memory'; centres are computed from it when
they are read. A row writes its label in the first epoch, where MMSA writes all labels
before it: nothing reads those of other rows before the second epoch. The moving average
counts epochs of the phase, from 1. Filler rows write nothing. Unlike in MMSA, a class without
a row leaves the labels as they are (there they become NaN), and a row that lacks a
modality has neither a label nor features of it. Classes have no sign: on them only the
task of all modalities is left.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from msajax import parallel
from msajax.data.spec import MODALITIES, suggest
from msajax.encoders.kinds import Encoder
from msajax.encoders.steps import make_encoder, text_steps
from msajax.encoders.summary import summary_steps
from msajax.models.base import CRITERIA, Batch, Model, Outputs
from msajax.nn.dropout import Dropout
from msajax.nn.linear import Linear
from msajax.nn.norm import l2_norm
from msajax.nn.pooling import mean_pool
from msajax.nn.subnets import TextSubNet

_CHOICES = {"pooling": ("cls", "mean")}
_EPSILON = 1e-8


class SelfMM(Model):
    """Self-supervised multi-task multimodal network.

    Attributes:
      encoder: the network that reads word pieces, from config.text; None takes the
        text features of the data.
      pooling: the text's features: 'cls' by `summary_steps`, or 'mean'.
        The features of a frozen XLNet have their 'cls' at the end too: take 'mean' for
        them.
      tasks: modalities that have a task of their own.
      hidden_dims: widths of the LSTMs of audio and vision.
      out_dims: widths of the outputs of these LSTMs.
      post_dims: widths of the layers of the tasks of text, audio and vision.
      fusion_dim: width of the layers of the task of all modalities.
      post_dropouts, fusion_dropout: dropout rates in front of the tasks' layers.
      bound: H; labels that are learned lie within ±H.
      exclude_zero: rows labelled 0 are of neither class; False counts them among the
        positive, and there also rows that are not in the memory.
      remat, scan: options of the encoder's layers, as in `TextOnly`.

    Raises:
      ValueError: an unknown task.
    """

    encoder: Encoder | None = None
    pooling: str = "cls"
    tasks: tuple[str, ...] = MODALITIES
    hidden_dims: tuple[int, int] = (16, 32)
    out_dims: tuple[int, int] = (16, 32)
    post_dims: tuple[int, int, int] = (32, 16, 32)
    fusion_dim: int = 128
    post_dropouts: tuple[float, float, float] = (0.1, 0.1, 0.0)
    fusion_dropout: float = 0.0
    bound: float = 3.0
    exclude_zero: bool = True
    remat: bool = False
    scan: bool = False

    @property
    def notes(self) -> tuple[str, ...]:
        """Says where the tasks fall away."""
        lost = self.spec.classes and self.tasks
        return ("classes have no sign: no modality has a task",) if lost else ()

    def setup(self):
        """Makes the network and the memory."""
        self.check_choices(_CHOICES)
        for m in set(self.tasks) - set(MODALITIES):
            raise ValueError(f'config.model.tasks has "{m}"{suggest(m, MODALITIES)}')
        self.bert = make_encoder(self.encoder, remat=self.remat, scan=self.scan)
        sizes = zip(self.hidden_dims, self.out_dims, strict=True)
        self.audio, self.vision = (TextSubNet(hidden, out) for hidden, out in sizes)
        dims: dict[str, int] = {"fusion": self.fusion_dim}
        dims |= zip(MODALITIES, self.post_dims, strict=True)
        rates: dict[str, float] = {"fusion": self.fusion_dropout}
        rates |= zip(MODALITIES, self.post_dropouts, strict=True)
        outputs = {m: 1 for m in self._tasks} | {"fusion": self.spec.num_outputs}
        self.post = {m: _Task(dims[m], n, rates[m]) for m, n in outputs.items()}
        self.label, self.feature = {}, {}
        if self._tasks:
            rows = self.spec.num_train
            self.label = {m: self._remembered(f"label_{m}", rows) for m in outputs}
            self.feature = {
                m: self._remembered(f"feature_{m}", rows, dims[m]) for m in outputs
            }

    def _remembered(self, name: str, *shape: int) -> nn.Variable:
        return self.variable("memory", name, jnp.zeros, shape, jnp.float32)

    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Predictions.

        Args:
          batch: as in `Model`.
          train: as in `Model`.

        Returns:
          'pred' and 'fusion' [B, fusion_dim]; of each task m its features m [B, post_dim]
          and 'pred_m' [B].
        """
        h = {"text": self._text(batch, train)}
        for m, net in (("audio", self.audio), ("vision", self.vision)):
            h[m] = net(batch[m], batch[f"{m}_mask"], train=train)
        h["fusion"] = jnp.concatenate([h[m] for m in MODALITIES], axis=-1)
        out: Outputs = {}
        for m, task in self.post.items():
            out[m], pred = task(h[m], train=train)
            if m == "fusion":
                out["pred"] = self.squeeze_single(pred)
            else:
                out[f"pred_{m}"] = pred[:, 0]
        return out

    def _text(self, batch: Batch, train: bool) -> jax.Array:
        """The text as one vector: [B, D]."""
        batch = text_steps(self.bert, batch, train=train)
        x, mask = batch["text"], batch["text_mask"]
        if self.pooling == "mean":
            return mean_pool(x, mask)
        return mean_pool(x, summary_steps(self.encoder, mask))

    # The losses ---------------------------------------------------------------------

    def loss(
        self, batch: Batch, *, train: bool, progress: dict[str, jax.Array]
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The losses of all tasks; in evaluation that of all modalities alone, which picks the checkpoint.

        A training step then updates the memory.
        """
        out = self(batch, train=train)
        pred = out["pred"].astype(jnp.float32)
        if not train:
            return self.task_loss(pred, batch), {"pred": pred}
        losses = self.task_losses({**out, "pred": pred}, batch, progress["epoch"])
        if self._tasks:
            self.remember({m: out[m] for m in self.label}, batch, progress["epoch"])
        return jnp.sum(jnp.stack([*losses.values()])), losses

    def task_losses(
        self, out: Outputs, batch: Batch, epoch: jax.Array
    ) -> dict[str, jax.Array]:
        """Losses by 'all' and the modality, each weighted by how far its labels are from those of all."""
        losses = {"all": self.task_loss(out["pred"], batch)}
        for m in self._tasks:
            learned = self.label[m].value[batch["index"]]
            label = jnp.where(epoch > 0, learned, batch["label"])
            weight = jnp.tanh(jnp.abs(label - batch["label"]))
            values = weight * CRITERIA[self.criterion](out[f"pred_{m}"], label)
            where = self._counts(m, batch)
            losses[m] = parallel.batch_mean(values, where=where)
        return losses

    # The unimodal label generation module -------------------------------------------

    def remember(
        self, features: dict[str, jax.Array], batch: Batch, epoch: jax.Array
    ) -> None:
        """Updates labels, then features, of the rows of the global batch.

        Args:
          features: {m: [B, D]} of 'fusion' and each task.
          batch: has index, label, valid and the masks.
          epoch: from 0. In the first one labels are those of all modalities.
        """
        y, index = (parallel.gather(batch[name]) for name in ("label", "index"))
        present = {m: parallel.gather(self._counts(m, batch)) for m in features}
        features = {
            m: parallel.gather(jax.lax.stop_gradient(x).astype(jnp.float32))
            for m, x in features.items()
        }
        distances = {m: self._relative_distance(m, x) for m, x in features.items()}
        for m, x in features.items():
            label = y
            if m != "fusion":
                old = self.label[m].value[index]
                label = self._learn(y, old, distances[m], distances["fusion"], epoch)
            # Filler rows, and those without a label or the modality, are written nowhere.
            rows = jnp.where(present[m], index, self.spec.num_train)
            for memory, values in ((self.label[m], label), (self.feature[m], x)):
                memory.value = memory.value.at[rows].set(values, mode="drop")

    def centres(self, m: str) -> tuple[jax.Array, jax.Array]:
        """Mean features of the positive and of the negative rows, [2, D], and whether there are such, [2] bool."""
        label = self.label[m].value
        positive = label > 0 if self.exclude_zero else label >= 0
        classes = jnp.stack([positive, label < 0])  # [2, N]
        count = jnp.sum(classes, axis=1)
        total = classes.astype(jnp.float32) @ self.feature[m].value
        return total / jnp.maximum(count, 1)[:, None], count > 0

    def _relative_distance(
        self, m: str, features: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """α_m: how much nearer the positive centre is than the negative one, [B]; whether there are both."""
        centres, found = self.centres(m)
        gaps = features[:, None] - centres[None]  # [B, 2, D]
        positive, negative = jnp.moveaxis(l2_norm(gaps)[..., 0], 1, 0)
        return (negative - positive) / (positive + _EPSILON), jnp.all(found)

    def _learn(
        self,
        y: jax.Array,
        old: jax.Array,
        of_modality: tuple[jax.Array, jax.Array],
        of_all: tuple[jax.Array, jax.Array],
        epoch: jax.Array,
    ) -> jax.Array:
        """A modality's labels: by the ratio and the difference of the distances, then the moving average.

        Args:
          y: [B], labels of all modalities.
          old: [B], the modality's so far.
          of_modality, of_all: relative distances.
          epoch: as in `remember`.

        Returns:
          [B].
        """
        (delta, found), (delta_all, found_all) = of_modality, of_all
        ratio = delta / (delta_all + _EPSILON)
        new = 0.5 * ratio * y + 0.5 * (y + delta - delta_all)
        new = jnp.clip(new, -self.bound, self.bound)
        n = epoch + 1
        average = (n - 1) / (n + 1) * old + 2 / (n + 1) * new
        return jnp.where(epoch > 0, jnp.where(found & found_all, average, old), y)

    def _counts(self, m: str, batch: Batch) -> jax.Array:
        """Rows that count, have a label and the modality: [B] bool."""
        rows = batch["valid"] if m == "fusion" else self.present(batch, m)
        return rows & batch.get("labelled", True)

    @property
    def _tasks(self) -> tuple[str, ...]:
        return () if self.spec.classes else self.tasks


class _Task(nn.Module):
    """Three layers; the first one's output are the features that the memory keeps."""

    dim: int
    outputs: int
    dropout: float

    @nn.compact
    def __call__(self, x, *, train):
        """[B, D] -> features [B, dim], predictions [B, outputs]."""
        x = Dropout(self.dropout)(x, deterministic=not train)
        features = nn.relu(Linear(self.dim, name="layer_1")(x))
        h = nn.relu(Linear(self.dim, name="layer_2")(features))
        return features, Linear(self.outputs, name="layer_3")(h)
