"""Options that trainings at once may differ in: arrays that the compiled step takes, by their keys.

Such values are continuous and change no shape: learning rates, weight decay, weights of
terms in a system's loss. The program is the same for all of their values.
"""

from collections.abc import Mapping
from typing import Any

import jax

from msajax.models.base import Model

# {'optimizer.learning_rate': value}: of several trainings at once an array [S] each.
Values = Mapping[str, jax.Array]

# Those of the optimizer; of a system any number that its code only computes with.
OPTIMIZER = (
    *("optimizer.learning_rate", "optimizer.encoder_rate"),
    "optimizer.weight_decay",
)
NONE: Values = {}


def model(base: Model, values: Values) -> Model:
    """The system with its own among the values in place of its fields'."""
    own = _section(values, "model")
    return base.clone(**own) if own else base


def optimizer(values: Values) -> dict[str, Any]:
    """Those of the optimizer, without the section's name."""
    return _section(values, "optimizer")


def _section(values: Values, name: str) -> dict[str, Any]:
    prefix = f"{name}."
    return {
        key.removeprefix(prefix): value
        for key, value in values.items()
        if key.startswith(prefix)
    }
