"""What a system is: a linen module from a batch to predictions, and a loss on them."""

import contextlib
import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from msajax import losses, parallel
from msajax.data.spec import MODALITIES, Spec, suggest
from msajax.encoders.lora import Lora

Batch = dict[str, jax.Array]
Outputs = dict[str, Any]

CRITERIA = {"l1": losses.l1, "mse": losses.mse, "smooth_l1": losses.smooth_l1}


class Model(nn.Module):
    """Base of every system. A system subclasses it once; systems never subclass each other.

    The dataclass fields of a subclass are its hyperparameters and the schema
    of `config.model`; each has the paper's (or the reference's) default.

    Attributes:
      spec: dims, lengths, labels of the data.
      criterion: task loss of a regression, 'l1', 'mse' or 'smooth_l1';
        classification always takes the cross-entropy.
      class_weights: weight of each class in the cross-entropy; () weighs all alike.
      lora: adapters of the pretrained encoder, from config.optimizer; None has none.

    Raises:
      ValueError: not as many weights as classes, or some that are not positive.
    """

    # True where the *parameters* are bound to the padded length.
    static_length: ClassVar[bool] = False
    # What a row of a batch is: an utterance, or a dialogue of at most `spec.turns` of them.
    view: ClassVar[str] = "utterance"
    # Fields of the data that only the systems get that name them.
    own_fields: ClassVar[tuple[str, ...]] = ()
    # True where it embeds the words of a vocabulary (`spec.vocabulary`) itself.
    own_words: ClassVar[bool] = False
    # The output of `__call__` that is 1 on rows whose prediction is only a substitute.
    unread: ClassVar[str] = ""

    spec: Spec
    criterion: str = "l1"
    class_weights: tuple[float, ...] = ()
    lora: Lora | None = None

    def __post_init__(self):
        weights, classes = self.class_weights, self.spec.classes
        if weights and (len(weights) != len(classes) or min(weights) <= 0):
            raise ValueError(
                f"config.model.class_weights is {weights}, but must be () or one positive "
                f"number for each of the {len(classes)} classes of the data"
                f"{': ' if classes else ', a regression'}{', '.join(classes)}"
            )
        super().__post_init__()

    @nn.nowrap
    def apply(self, *args: Any, **kwargs: Any) -> Any:
        """As of linen, with the encoder's adapters."""
        with self.lora.adapting() if self.lora else contextlib.nullcontext():
            return super().apply(*args, **kwargs)

    @nn.nowrap
    def init_with_output(self, *args: Any, **kwargs: Any) -> Any:
        """As of linen, with the encoder's adapters."""
        with self.lora.adapting() if self.lora else contextlib.nullcontext():
            return super().init_with_output(*args, **kwargs)

    @classmethod
    def system(cls) -> str:
        """The name of the system: that of its file or package in `msajax.models`."""
        return cls.__module__.removeprefix("msajax.models.").partition(".")[0]

    @property
    def fixed_length(self) -> bool:
        """Whether what the system computes depends on the padded length.

        A system that can work on padding as its reference does has a field `padded`.
        """
        return self.static_length or getattr(self, "padded", False)

    @property
    def reports(self) -> Mapping[str, tuple[str, ...]]:
        """What `predict` writes beside the scores: {method: columns}.

        The method returns, like `__call__`, a dict whose 'pred' is [B, columns].
        """
        return {}

    @property
    def notes(self) -> tuple[str, ...]:
        """What a run should say of the system on its data, a line each."""
        return ()

    def compared(self, order: Sequence[str] = MODALITIES) -> list[str]:
        """The modalities that the data has, of a system that compares them.

        Args:
          order: of all.

        Raises:
          ValueError: there are fewer than two.
        """
        found = [m for m in order if m in self.spec.modalities]
        if len(found) < 2:
            raise ValueError(
                f"{self.system()} compares modalities, but the data has "
                f"{' '.join(found) or 'none'}; set config.data.modalities to at least two"
            )
        return found

    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Predictions for a batch.

        Args:
          batch: fields of `msajax.data.spec`, [B, ...] each.
          train: dropout, BatchNorm on batch statistics.

        Returns:
          A dict with 'pred' ([B] float32 sentiment, or [B, C] logits; of dialogues
          [B, U] or [B, U, C]); it may hold representations and attention weights.
        """
        raise NotImplementedError

    def loss(
        self, batch: Batch, *, train: bool, progress: dict[str, jax.Array]
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Loss of the global batch; also evaluated with train=False on the validation split.

        Args:
          batch: as in `__call__`, with labels.
          train: as in `__call__`.
          progress: epoch, step, fraction (of the phase), lr_scale; traced scalars.

        Returns:
          (scalar loss, dict of scalar terms to log). The dict may hold 'pred',
          what `__call__` returns under that name: evaluation then takes it from
          here and need not run the network twice.
        """
        del progress
        pred = self(batch, train=train)["pred"].astype(jnp.float32)
        return self.task_loss(pred, batch), {"pred": pred}

    def task_loss(self, pred: jax.Array, batch: Batch) -> jax.Array:
        """Mean task loss of `pred` on `label` over what `counted` says: a scalar.

        `pred` is [B] or, of classes, [B, C]; in the dialogue view [B, U] or [B, U, C]. With class weights it is the mean by the weights of the rows' classes, as that
        of torch.nn.CrossEntropyLoss.
        """
        mean = functools.partial(parallel.batch_mean, where=self.counted(batch))
        if not self.spec.classes:
            return mean(CRITERIA[self.criterion](pred, batch["label"]))
        values = losses.cross_entropy(pred, batch["label"])
        if not self.class_weights:
            return mean(values)
        weight = jnp.asarray(self.class_weights, jnp.float32)[batch["label"]]
        total = jnp.maximum(mean(weight), jnp.finfo(jnp.float32).tiny)
        return mean(weight * values) / total

    def counted(self, batch: Batch) -> jax.Array:
        """Valid, labelled utterances: rows [B] bool, or turns of dialogues [B, U] bool."""
        where = batch["valid"]
        if self.spec.turns:
            where = where[:, None] & batch["utterance_mask"]
        return where & batch.get("labelled", True)

    def loss_of_modality(
        self, pred: jax.Array, batch: Batch, modality: str
    ) -> jax.Array:
        """Mean loss of `pred` [B] on the modality's own label, over valid, labelled rows that have it: a scalar."""
        values = CRITERIA[self.criterion](pred, batch[f"label_{modality}"])
        where = self.present(batch, modality) & batch.get("labelled", True)
        return parallel.batch_mean(values, where=where)

    def loss_of_tasks(
        self, out: Outputs, batch: Batch, weights: Sequence[float]
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The weighted sum of the losses on the label of all and on the modalities' own.

        Args:
          out: 'pred', and 'pred_<modality>' [B] of the modalities that have a task.
          batch: with the labels of these tasks.
          weights: of the label of all, and of those of text, audio and vision.

        Returns:
          As `loss`; the losses are 'all' and the names of the modalities.
        """
        weight: dict[str, float] = dict(zip(("all", *MODALITIES), weights, strict=True))
        pred = out["pred"].astype(jnp.float32)
        losses = {"all": self.task_loss(pred, batch)}
        for m in (m for m in MODALITIES if f"pred_{m}" in out):
            losses[m] = self.loss_of_modality(out[f"pred_{m}"], batch, m)
        total = sum((weight[m] * x for m, x in losses.items()), start=jnp.zeros(()))
        return total, {"pred": pred, **losses}

    def own_tasks(self, weights: Sequence[float]) -> tuple[str, ...]:
        """Modalities whose own label the data has; those with a weight (as above) must have it.

        Raises:
          ValueError: the data lacks such a label.
        """
        own = [m for m in self.spec.modalities if f"label_{m}" in self.spec.fields]
        weighted = [m for m, w in zip(MODALITIES, weights[1:], strict=True) if w]
        lacking = [m for m in self.spec.modalities if m in weighted and m not in own]
        if lacking:
            names = ", ".join(f"label_{m}" for m in lacking)
            raise ValueError(
                f"{type(self).__name__} learns a label of each modality, but the data has "
                f"no {names}; train on data that has them (CH-SIMS, CH-SIMS v2, the demo "
                f"corpus), or set their weights to 0: config.model.weights is "
                f"{tuple(weights)}, of the label of all, {', '.join(MODALITIES)}"
            )
        return tuple(own)

    def present(self, batch: Batch, modality: str) -> jax.Array:
        """Rows that count and have the modality: [B] bool."""
        return batch["valid"] & jnp.any(batch[f"{modality}_mask"], axis=1)

    def squeeze_single(self, pred: jax.Array) -> jax.Array:
        """The last layer's [..., spec.num_outputs] as predictions: [...], or [..., C] of classes.

        The leading axes are [B], or [B, U] of dialogues.
        """
        return pred if self.spec.classes else pred[..., 0]

    def check_choices(self, known: Mapping[str, Sequence[str]]) -> None:
        """Refuses a field whose value is not one of those known: {field: values}.

        Raises:
          ValueError: names the nearest value.
        """
        for field, values in known.items():
            if (value := getattr(self, field)) not in values:
                hint = suggest(value, filter(None, values))
                raise ValueError(f'config.model.{field} is "{value}"{hint}')
