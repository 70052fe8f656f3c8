"""What a system is: a linen module from a batch to predictions, and a loss on them."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from msajax import losses, parallel
from msajax.data.spec import Spec, suggest

Batch = dict[str, jax.Array]
Outputs = dict[str, Any]

CRITERIA = {"l1": losses.l1, "mse": losses.mse}


class Model(nn.Module):
    """Base of every system. A system subclasses it once; systems never subclass each other.

    The dataclass fields of a subclass are its hyperparameters and the schema
    of `config.model`; each has the paper's (or the reference's) default.

    Attributes:
      spec: dims, lengths, labels of the data.
      criterion: task loss of a regression, 'l1' or 'mse'; classification
        always takes the cross-entropy.
    """

    # True where the *parameters* are bound to the padded length.
    static_length: ClassVar[bool] = False

    spec: Spec
    criterion: str = "l1"

    @property
    def fixed_length(self) -> bool:
        """Whether what the system computes depends on the padded length.

        A system that can work on padding as its reference does has a field `padded`.
        """
        return self.static_length or getattr(self, "padded", False)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a run should say of the system on its data, a line each."""
        return ()

    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Predictions for a batch.

        Args:
          batch: fields of `msajax.data.spec`, [B, ...] each.
          train: dropout, BatchNorm on batch statistics.

        Returns:
          A dict with 'pred' ([B] float32 sentiment, or [B, C] logits); it may
          hold representations and attention weights.
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
        """Mean task loss of `pred` ([B] or [B, C]) on `label` over valid rows: a scalar."""
        if self.spec.classes:
            values = losses.cross_entropy(pred, batch["label"])
        else:
            values = CRITERIA[self.criterion](pred, batch["label"])
        return parallel.batch_mean(values, where=batch["valid"])

    def shaped(self, pred: jax.Array) -> jax.Array:
        """The last layer's [B, spec.num_outputs] as predictions: [B], or [B, C] of classes."""
        return pred if self.spec.classes else pred[:, 0]

    def check_choices(self, known: Mapping[str, Sequence[str]]) -> None:
        """Refuses a field whose value is not one of those known: {field: values}.

        Raises:
          ValueError: names the nearest value.
        """
        for field, values in known.items():
            if (value := getattr(self, field)) not in values:
                hint = suggest(value, filter(None, values))
                raise ValueError(f'config.model.{field} is "{value}"{hint}')
