"""Predictions and figures of a whole split in one dispatch."""

import contextlib
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from msajax import metrics, parallel
from msajax.data import loader
from msajax.data.spec import MODALITIES, Dataset
from msajax.train import feed, varied
from msajax.train.varied import Values

Arrays = dict[str, jax.Array]


def apply(model: Any, variables: Any, batch: Arrays, precision: str, **options: Any):
    """`model.apply` computing in a precision.

    Args:
      model: the system.
      variables: its float32 variables.
      batch: float32 features, masks and labels.
      precision: 'bfloat16' casts the parameters and the features; collections and
        labels stay, and the blocks keep their norms and softmaxes in float32. 'tf32' is
        float32 whose products' factors NVIDIA GPUs round.
      **options: of `model.apply`.
    """
    if precision == "bfloat16":
        variables = variables | {"params": rounded(variables["params"])}
        batch = batch | rounded({m: batch[m] for m in MODALITIES if m in batch})
    with products(precision):
        return model.apply(variables, batch, **options)


def products(precision: str) -> contextlib.AbstractContextManager:
    """Traces products in TF32 where that is the precision.

    Else they stay as JAX is set (`run.devices.set_up`).
    """
    if precision == "tf32":
        return jax.default_matmul_precision("tensorfloat32")
    return contextlib.nullcontext()


def rounded(tree: Any) -> Any:
    """A tree whose float32 arrays are in bfloat16."""

    def cast(x):
        return x.astype(jnp.bfloat16) if x.dtype == jnp.float32 else x

    return jax.tree.map(cast, tree)


def kind_of(value: Any) -> str:
    """What a method has returned, for errors; the classes of traced arrays are of JAX."""
    return "an array" if hasattr(value, "shape") else f"a {type(value).__name__}"


def loss_and_terms(model: Any, method: str, returned: Any) -> tuple[Any, Arrays]:
    """What a method for the loss has returned, checked: the loss and its terms.

    Raises:
      ValueError: it is no pair of a loss and a dict, or not of scalars.
    """
    name = f"{type(model).__name__}.{method}"
    pair = isinstance(returned, tuple) and len(returned) == 2
    if not pair or not isinstance(returned[1], Mapping):
        raise ValueError(
            f"{name} returns {kind_of(returned)}; return a tuple of the scalar "
            "loss and a dict of scalar terms to log"
        )
    loss, terms = returned
    for key, value in {"the loss": loss, **terms}.items():
        if key != "pred" and jnp.shape(value):
            raise ValueError(
                f"{name} returns {key} of shape {jnp.shape(value)}, but must return "
                'a scalar; parallel.batch_mean(x, where=batch["valid"]) reduces [B]'
            )
    return loss, dict(terms)


def alike(choices: list[Callable]) -> list[Callable]:
    """Functions that return arrays and a scalar, the arrays padded to the largest of all.

    Parts of dialogues have predictions of as many turns as the part's longest.
    """
    shapes = [jax.eval_shape(choice)[0] for choice in choices]
    if all(shape == shapes[0] for shape in shapes):
        return choices
    largest = jax.tree.map(lambda *x: np.max([a.shape for a in x], axis=0), *shapes)

    def pad(x: jax.Array, size: np.ndarray) -> jax.Array:
        return jnp.pad(x, [(0, int(b) - a) for a, b in zip(x.shape, size, strict=True)])

    def padded(choice: Callable) -> Callable:
        def run():
            made, value = choice()
            return jax.tree.map(pad, made, largest), value

        return run

    return [padded(choice) for choice in choices]


def arrays(
    model: Any, variables: Any, batch: Arrays, precision: str, names: Any = None
) -> Arrays:
    """Arrays that a system gives without training, by their paths: 'fusion', 'weights/audio'.

    Args:
      model, variables, batch, precision: as in `apply`.
      names: those that are needed; None for all, the module's intermediates too.
    """

    def flat(tree: Any) -> Arrays:
        found: dict[str, Any] = traverse_util.flatten_dict(tree, sep="/")
        return {k: x for k, x in found.items() if hasattr(x, "shape")}

    if names is not None:
        found = flat(apply(model, variables, batch, precision, train=False))
        if {*names} <= {*found}:
            return found
    # Long attention computes its weights as a whole for this.
    options = dict(train=False, mutable=["intermediates"])
    returned, state = apply(model, variables, batch, precision, **options)
    sown: Any = traverse_util.flatten_dict(state.get("intermediates", {}), sep="/")
    inside = {
        path if len(values) == 1 else f"{path}_{i}": value
        for path, values in sown.items()
        for i, value in enumerate(values)
    }
    return {**inside, **flat(returned)}


def make_forward(
    model: Any,
    *,
    predict: str,
    outputs: Mapping[str, int] = {},
    loss: str = "",
    seeds: int = 1,
    precision: str = "float32",
) -> Callable:
    """The pass over a split, on the split's devices; compiled once for each set of devices.

    Args:
      model: the system.
      predict: method that returns a dict of arrays [B, ...].
      outputs: those of `arrays` to return in place of the predictions, as a dict: the
        axis of the rows of each.
      loss: method of the loss; '' computes none (data without labels).
      seeds: S, that the variables hold.
      precision: as in `apply`.

    Returns:
      forward(variables, source, batch_size, progress, values={}) -> (pred, losses) on
      the host: pred [S, N, ...] in the order of the split, losses [S]. The
      variables and the values have an axis [S] in front, and so has
      progress['lr_scale']; they are copied to the devices that lack them.
    """

    def one(variables, batch, progress, values):
        system = varied.model(model, values)
        if outputs:
            found = arrays(system, variables, batch, precision, outputs)
            made = {k: jnp.moveaxis(found[k], i, 0) for k, i in outputs.items()}
            return jax.tree.map(lambda x: x.astype(jnp.float32), made), jnp.zeros(())
        value, terms = jnp.zeros(()), {}
        if loss:
            options = dict(train=False, progress=progress, method=loss)
            returned = apply(system, variables, batch, precision, **options)
            value, terms = loss_and_terms(system, loss, returned)
        # The loss of another method's phase may hand over other predictions.
        pred = terms.get("pred") if predict == "__call__" else None
        if pred is None:
            options = dict(train=False, method=predict)
            pred = apply(system, variables, batch, precision, **options)["pred"]
        # A loss that is no mean over the global batch is, on each device, of its own rows.
        return pred.astype(jnp.float32), parallel.mean(value.astype(jnp.float32))

    def split(variables, data, rows, part, progress, values):
        def step(at):
            choices = [
                lambda d=d: one(variables, feed.take(d, at[0]), progress, values)
                for d in data
            ]
            if len(data) == 1:
                pred, loss = choices[0]()
            else:
                pred, loss = jax.lax.switch(at[1], alike(choices))
            # Every process and device gets all rows, [b, ...] -> [B, ...]. After each step,
            # as a device that waits much longer than that for another ends the process.
            return jax.tree.map(parallel.gather, pred), loss

        progress = progress | {"lr_scale": values["lr_scale"]}
        return jax.lax.map(step, (rows, part))

    in_axes = (0, None, None, None, None, 0)
    passes = parallel.over_seeds(split, seeds, in_axes=in_axes)

    @functools.cache
    def compiled(devices: parallel.Devices, resident: bool) -> Callable:
        data = None if resident else 0
        in_axes = (None, data, 0, None, None, None)
        return parallel.compile(passes, devices, in_axes=in_axes)

    def forward(
        variables,
        source: feed.Source,
        batch_size: int,
        progress,
        values: Values = varied.NONE,
    ):
        devices = tuple(source.devices)
        run = compiled(devices, source.resident)
        batches = loader.ordered_batches(source.sizes, batch_size)
        # Training may have another number of devices: filler rows complete each batch.
        filler = -batch_size % len(devices)
        rows = np.pad(batches.rows, ((0, 0), (0, filler)), constant_values=-1)
        batches = batches._replace(rows=rows)
        progress = dict(progress)
        values = {"lr_scale": progress.pop("lr_scale"), **values}
        variables, progress, values = parallel.replicate(
            (variables, progress, values), devices
        )
        found = []
        for chunk in source.chunks(batches, whole=True):
            arguments = (chunk.data, chunk.rows, chunk.part, progress, values)
            found.append(jax.device_get(run(variables, *arguments)))
        pred, losses = jax.tree.map(lambda *x: np.concatenate(x, axis=1), *found)
        steps = len(batches.part)  # the last chunk may be filled up
        counts = feed.counts(batches, source)
        losses = np.average(losses[:, :steps], axis=1, weights=counts)
        order = functools.partial(feed.in_order, batches=batches, source=source)
        return jax.tree.map(lambda x: order(x[:, :steps]), pred), losses

    return forward


def joined(found: Mapping[str, Mapping[int, np.ndarray]]) -> dict[int, np.ndarray]:
    """{split: {seed: [N, ...]}} to {seed: all rows}."""
    seeds = next(iter(found.values()))
    return {s: np.concatenate([rows[s] for rows in found.values()]) for s in seeds}


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
