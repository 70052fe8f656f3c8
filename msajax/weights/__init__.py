"""Trained PyTorch weights of the reference implementations in our systems.

    model = msajax.models.get("tfn")(spec, hidden_dims=(128, 32, 128))
    variables = weights.load(model, weights.read("tfn-mosi.safetensors"))

One module per system or block, named as it is: `table` maps PyTorch's names to ours.
"""

import importlib
import pkgutil
from types import ModuleType
from typing import Any

import jax

from msajax.data.spec import suggest
from msajax.weights.files import read
from msajax.weights.table import State, Table

__all__ = ["load", "read", "reference_form", "table_of", "template"]

# Modules here that hold no names of a system.
_OTHERS = {
    "bert",
    "blocks",
    "deberta",
    "files",
    "mag_gate",
    "mpnet",
    "resnet",
    "t5",
    "table",
    "torch_file",
    "unimse_adapter",
    "wav2vec2",
    "wavlm",
    "xlnet",
}


def table_of(model: Any) -> Table:
    """The names of a system's parameters in the files of its authors, or of MMSA.

    Raises:
      ValueError: there is no table of the system; names those that have one.
    """
    return _module(model.system()).table(model)


def reference_form(system: str) -> dict[str, Any]:
    """Hyperparameters with which a system computes what its reference does, over those of a recipe.

    Raises:
      ValueError: there is no table of the system.
    """
    return getattr(_module(system), "REFERENCE", {})


def _module(name: str) -> ModuleType:
    known = {m.name for m in pkgutil.iter_modules(__path__)} - _OTHERS
    if name not in known:
        raise ValueError(
            f"there is no table of the PyTorch names of {name}{suggest(name, known)}"
        )
    return importlib.import_module(f"{__name__}.{name}")


def load(model: Any, state: State) -> dict[str, Any]:
    """Variables of a system from a reference's state dict.

    Args:
      model: with the hyperparameters of the trained one.
      state: PyTorch name to array, with or without MMSA's prefix 'Model.'.

    Returns:
      The variables for `model.apply`: params, and batch_stats where it has them.

    Raises:
      ValueError: the system has no table, or the weights do not fit.
    """
    table = table_of(model)
    if all(name.startswith("Model.") for name in state):
        state = {name.removeprefix("Model."): array for name, array in state.items()}
    return table.variables(state, template(model, model.spec.example(2), train=False))


def template(module: Any, *args: Any, **kwargs: Any) -> Any:
    """Shapes and dtypes of a module's variables, without computing them."""
    return jax.eval_shape(
        lambda key: module.init(key, *args, **kwargs), jax.random.key(0)
    )
