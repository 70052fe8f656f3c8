"""Trained PyTorch weights of the reference implementations in our systems.

    model = msajax.models.get("tfn")(spec, hidden_dims=(128, 32, 128))
    variables = interop.load(model, interop.read_checkpoint("tfn-mosi.safetensors"))

One module per system or block, named as the system: `table` maps names, and
`reproduce` recomputes a case of reference numbers (tools/torch_parity.py).
"""

import importlib
import pkgutil
from types import ModuleType
from typing import Any

from msajax.data.spec import suggest
from msajax.interop.checkpoint import read_checkpoint
from msajax.interop.replay import template
from msajax.interop.table import State
from msajax.models.base import Model

# Systems that the references name otherwise.
_ALIASES = {"bert_mag": "mag_bert"}

__all__ = ["get", "load", "names", "read_checkpoint"]


def names() -> tuple[str, ...]:
    """Names of all systems and blocks that have a table."""
    found = (module.name for module in pkgutil.iter_modules(__path__))
    return tuple(name for name in sorted(found) if hasattr(_import(name), "reproduce"))


def get(name: str) -> ModuleType:
    """The module of a system or block, by our name or the reference's.

    Raises:
      ValueError: there is none; names the nearest one.
    """
    name = _ALIASES.get(name, name)
    if name not in names():
        raise ValueError(
            f'no table of PyTorch names for "{name}"{suggest(name, names())}'
        )
    return _import(name)


def load(model: Model, state: State) -> dict[str, Any]:
    """Variables of a system from a reference's state dict.

    Args:
      model: with the hyperparameters of the trained one.
      state: PyTorch name to array, with or without MMSA's prefix 'Model.'.

    Returns:
      The variables for `model.apply`: params, and batch_stats where it has them.

    Raises:
      ValueError: the system has no table, or the weights do not fit.
    """
    table = get(type(model).__module__.rpartition(".")[2]).table(model)
    if all(name.startswith("Model.") for name in state):
        state = {name.removeprefix("Model."): array for name, array in state.items()}
    batch = model.spec.example(2)
    return table.variables(state, template(model, batch, train=False))


def _import(name: str) -> ModuleType:
    return importlib.import_module(f"{__name__}.{name}")
