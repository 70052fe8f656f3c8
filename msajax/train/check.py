"""What is refused of a system and a phase before anything is compiled."""

from collections.abc import Mapping
from typing import Any

import jax

from msajax.data.spec import Dataset, suggest
from msajax.models.base import Model
from msajax.train import evaluate
from msajax.train.plan import Phase


def outputs(model: Model, found: Any, *, rows: int) -> None:
    """Refuses outputs of a system that are no dict with 'pred' of the task's shape.

    Raises:
      ValueError: says what they are, and what to return.
    """
    name, classes = type(model).__name__, model.spec.classes
    if not isinstance(found, Mapping) or "pred" not in found:
        listed = f" of {', '.join(found)}" if isinstance(found, Mapping) else ""
        raise ValueError(
            f"{name}.__call__ returns {evaluate.kind_of(found)}{listed}; return a dict "
            'that has the predictions as "pred"'
        )
    wanted = (rows, *model.spec.shape("label"), *([len(classes)] if classes else ()))
    if (shape := found["pred"].shape) != wanted:
        raise ValueError(
            f'{name}.__call__ returns "pred" of shape {shape} for {rows} rows, but must '
            f"return {wanted}; let the last layer have self.spec.num_outputs outputs, and "
            "pass them through self.squeeze_single"
        )


def phase(model: Model, phase: Phase, dataset: Dataset) -> None:
    """Refuses a phase whose methods or validation figure the system does not have.

    Raises:
      ValueError: names the nearest one.
    """
    for method in (phase.loss, phase.predict):
        if not callable(getattr(model, method, None)):
            known = [m for m in dir(type(model)) if m.endswith(("loss", "pred"))]
            raise ValueError(
                f'phase "{phase.name}" names the method "{method}", which '
                f"{type(model).__name__} does not have{suggest(method, known)}"
            )
    if phase.data != "train":
        _unlabelled(model, phase)
    figures = ("loss", "last", *evaluate.metric_names(dataset))
    if phase.select not in figures:
        raise ValueError(
            f'unknown metric "{phase.select}" in select{suggest(phase.select, figures)}'
        )


def _unlabelled(model: Model, phase: Phase) -> None:
    batch = model.spec.example(2)
    batch = {k: x for k, x in batch.items() if not k.startswith("label")}
    progress = {"epoch": 0, "step": 0, "fraction": 0.0, "lr_scale": 1.0}
    options: Any = dict(method=phase.loss, train=True, progress=progress)
    try:
        jax.eval_shape(
            lambda key, batch: model.init(key, batch, **options),
            jax.random.key(0),
            batch,
        )
    except KeyError as error:
        raise ValueError(
            f'phase "{phase.name}" trains on {phase.data}, whose labels are not read, but '
            f"its loss {phase.loss} takes {error}; leave the phase's data away, or give a "
            "loss that needs no labels"
        ) from None
