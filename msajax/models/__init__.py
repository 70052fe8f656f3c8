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
      ValueError: no such system; names the nearest one. Or its file is not one system.
    """
    if name not in names():
        raise ValueError(f'unknown system "{name}"{suggest(name, names())}')
    module = importlib.import_module(f"{__name__}.{name}")
    found = [
        member
        for _, member in inspect.getmembers(module, inspect.isclass)
        if issubclass(member, Model) and _within(member, module.__name__)
    ]
    if len(found) != 1:
        listed = f": {', '.join(kind.__name__ for kind in found)}" if found else ""
        raise ValueError(
            f"{module.__file__} has {len(found)} subclasses of Model{listed}; a system is "
            "exactly one, and its parts are subclasses of nn.Module"
        )
    _check_annotations(found[0])
    return found[0]


def _check_annotations(system: type[Model]) -> None:
    """Refuses a hyperparameter without a type: it would be a constant that no recipe can set."""
    known = {name for kind in system.__mro__ for name in inspect.get_annotations(kind)}
    for name, value in vars(system).items():
        plain = isinstance(value, int | float | str | tuple) and name[0] != "_"
        if plain and name not in known:
            raise ValueError(
                f"{system.__name__}.{name} has no type, so it is no field; write "
                f"{name}: {type(value).__name__} = {value!r}, or ClassVar for a constant"
            )


def _within(member: type, module: str) -> bool:
    return f"{member.__module__}.".startswith(f"{module}.")
