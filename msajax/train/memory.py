"""What a seed's training keeps on a device, by the shapes of its trace: nothing is computed."""

import functools
from collections.abc import Iterable
from typing import Any

import jax
import jax.extend
import jax.numpy as jnp

from msajax.models.base import Model
from msajax.train import step
from msajax.train.plan import Phase


def of_seed(
    model: Model, phases: Iterable[Phase], *, devices: int, precision: str
) -> int:
    """Bytes of a seed: parameters, gradients, Adam's moments, averages and activations.

    Args:
      model: the system.
      phases: of the recipe; the one with the most activations counts.
      devices: that share a batch.
      precision: of the computation.
    """
    lora, shapes, phases = model.lora, step.shapes(model), tuple(phases)
    copies = 4 + any(phase.ema for phase in phases)
    size = 4 * sum(leaf.size for leaf in shapes.collections.values())
    for path, leaf in shapes.params.items():
        trained = lora is None or lora.trains(path)
        size += 4 * leaf.size * (copies if trained else 1)
    kept = [
        activations(
            model, phase, rows=-(-phase.batch_size // devices), precision=precision
        )
        for phase in phases
    ]
    return size + max(kept)


def activations(
    model: Model, phase: Phase, *, rows: int, precision: str = "float32"
) -> int:
    """Bytes that the forward pass of a step keeps for the gradient.

    They are the results of the forward pass that the trace of the backward pass reads,
    without parameters and the batch. XLA computes some of them again instead, and has
    other temporary arrays.

    Args:
      model: the system.
      phase: how it is trained.
      rows: of the batch, on one device.
      precision: of the computation.
    """
    shapes = step.shapes(model)
    trained = step.groups_of(model, phase, shapes.params)

    def forward(state: step.State, batch: Any, key: jax.Array, progress: Any) -> Any:
        """The function of the backward pass, a tree of what it reads."""
        frozen = {k: v for k, v in state.params.items() if k not in trained}
        params = {k: v for k, v in state.params.items() if k in trained}
        loss = functools.partial(
            step.phase_loss,
            model,
            phase,
            precision,
            state._replace(params=frozen),
            batch,
            {"params": key, "dropout": key},
            progress,
        )
        return jax.vjp(loss, params, has_aux=True)[1]

    names = ("epoch", "step", "fraction", "lr_scale")
    progress = dict.fromkeys(names, jnp.zeros(()))
    given = shapes, model.spec.example(rows), jax.random.key(0), progress
    traced = jax.make_jaxpr(forward)(*given).jaxpr
    kept: set[Any] = {v for v in traced.outvars if isinstance(v, jax.extend.core.Var)}
    made = kept - {*traced.invars, *traced.constvars}
    return sum(x.aval.size * x.aval.dtype.itemsize for x in made)
