"""Predictions and figures of a whole split in one dispatch."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from msajax import metrics, parallel
from msajax.data import loader
from msajax.data.spec import Dataset

Arrays = dict[str, jax.Array]


def take(data: Arrays, rows: jax.Array) -> Arrays:
    """The batch of some rows of a split on the device.

    Args:
      data: {field: [N, ...]}.
      rows: [B] int32, -1 on filler rows, which repeat row 0 with valid=False.

    Returns:
      {field: [B, ...]} with 'index' and 'valid'.
    """
    index = jnp.maximum(rows, 0)
    batch = {name: array[index] for name, array in data.items()}
    return batch | {"index": index, "valid": rows >= 0}


def make_forward(
    model: Any, devices: parallel.Devices, *, predict: str, loss: str = ""
) -> Callable:
    """Compiles the pass over a split.

    Args:
      model: the system.
      devices: where it runs.
      predict: method that returns a dict with 'pred'.
      loss: method of the loss; '' computes none (data without labels).

    Returns:
      forward(variables, data, rows, progress) -> (pred, losses) on the host:
      pred [N] or [N, C] in the order of `rows`, losses [steps].
    """

    def one(variables, data, rows, progress):
        apply = functools.partial(model.apply, variables, take(data, rows), train=False)
        value, terms = jnp.zeros(()), {}
        if loss:
            value, terms = apply(progress=progress, method=loss)
        # A loss that hands over the predictions spares a second pass.
        pred = terms["pred"] if "pred" in terms else apply(method=predict)["pred"]
        return pred.astype(jnp.float32), value

    def split(variables, data, rows, progress):
        return jax.lax.map(lambda r: one(variables, data, r, progress), rows)

    run = parallel.compile(
        split, devices, in_axes=(None, None, 0, None), out_axes=(0, None)
    )

    def forward(variables, data, rows: np.ndarray, progress):
        dealt = parallel.shard_rows(rows, devices)
        pred, losses = jax.device_get(run(variables, data, dealt, progress))
        pred = parallel.unshard_rows(pred)
        return pred[rows >= 0], np.asarray(losses)

    return forward


def figures(
    forward: Callable,
    variables: Any,
    data: Arrays,
    labels: np.ndarray,
    *,
    dataset: Dataset,
    batch_size: int,
    progress: Any,
) -> tuple[dict[str, float], np.ndarray]:
    """Loss, metrics and predictions of a split.

    Args:
      forward: made by `make_forward` with a loss.
      variables: of the model.
      data: {field: [N, ...]} on the devices.
      labels: [N] on the host.
      dataset: its metrics and classes.
      batch_size: rows per step.
      progress: as the loss takes it.

    Returns:
      ({'loss': ..., metric: ...}, pred [N] or [N, C]).
    """
    rows = loader.ordered_rows(len(labels), batch_size)
    pred, losses = forward(variables, data, rows, progress)
    counts = (rows >= 0).sum(axis=1)
    found = {"loss": float(np.average(losses, weights=counts))}
    return found | metrics_of(dataset, pred, labels), pred


def metrics_of(
    dataset: Dataset, pred: np.ndarray, labels: np.ndarray
) -> dict[str, float]:
    """A dataset's metrics of a split; all NaN where a prediction is not finite."""
    if not np.isfinite(pred).all():
        return dict.fromkeys(metric_names(dataset), float("nan"))
    family, classes = dataset.metrics, dataset.classes
    return metrics.evaluate(family, pred, labels, classes=classes)


def metric_names(dataset: Dataset) -> tuple[str, ...]:
    """Names of a dataset's metrics, in the order of the tables."""
    return metrics.names(dataset.metrics, classes=dataset.classes)


def improves(select: str, new: Mapping[str, float], best: float | None) -> bool:
    """Whether the figure `select` of an epoch is better than the best so far."""
    start = float("nan") if best is None else best
    return bool(metrics.improves(select, new[select], start))
