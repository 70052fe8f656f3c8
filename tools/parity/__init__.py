"""Cases of reference numbers, recomputed: one module per system or block, `reproduce(case)`."""

import importlib
import pkgutil
from types import ModuleType

from msajax.data.spec import suggest

# Systems that the references name otherwise.
ALIASES = {"bert_mag": "mag_bert"}


def names() -> tuple[str, ...]:
    """Names of all systems and blocks that can be recomputed."""
    found = {module.name for module in pkgutil.iter_modules(__path__)}
    return tuple(sorted(found - {"case", "replay"}))


def get(name: str) -> ModuleType:
    """The module of a system or block, by our name or the reference's.

    Raises:
      ValueError: there is none; names the nearest one.
    """
    name = ALIASES.get(name, name)
    if name not in names():
        raise ValueError(
            f'no case of "{name}" can be recomputed{suggest(name, names())}'
        )
    return importlib.import_module(f"{__name__}.{name}")
