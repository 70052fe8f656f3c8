"""One file, or one package, per published system; the registry is this folder."""

import importlib
import inspect
import pkgutil

from msajax.data.spec import suggest
from msajax.models.base import CRITERIA as CRITERIA
from msajax.models.base import Model


def names() -> tuple[str, ...]:
    """Names of all systems: the files and packages of this folder."""
    found = (module.name for module in pkgutil.iter_modules(__path__))
    return tuple(sorted(name for name in found if name != "base"))


def get(name: str) -> type[Model]:
    """The `Model` subclass in `msajax/models/<name>.py`, or in the package of that name.

    Raises:
      ValueError: no such system; names the nearest one.
    """
    if name not in names():
        raise ValueError(f'unknown system "{name}"{suggest(name, names())}')
    module = importlib.import_module(f"{__name__}.{name}")
    (system,) = (
        member
        for _, member in inspect.getmembers(module, inspect.isclass)
        if issubclass(member, Model) and _within(member, module.__name__)
    )
    return system


def _within(member: type, module: str) -> bool:
    return f"{member.__module__}.".startswith(f"{module}.")
