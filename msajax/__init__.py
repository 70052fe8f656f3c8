"""msajax: multimodal sentiment analysis in JAX and Flax.

    import msajax

    corpus = msajax.load_data("unaligned_50.pkl", dataset="mosi")
    run = msajax.fit("mult:mosi", corpus, seeds=(1, 2, 3))
    run.evaluate("test"), run.predict("clips.npz")

What is here is imported when it is first used.
"""

import importlib
import typing

__version__ = "0.1.0"

__all__ = [
    "__version__",
    "create_model",
    "evaluate",
    "fit",
    "list_recipes",
    "list_systems",
    "load_data",
    "metrics",
    "open_run",
    "predict",
]

if typing.TYPE_CHECKING:
    from msajax import metrics as metrics
    from msajax.api import create_model as create_model
    from msajax.api import evaluate as evaluate
    from msajax.api import fit as fit
    from msajax.api import list_recipes as list_recipes
    from msajax.api import list_systems as list_systems
    from msajax.api import load_data as load_data
    from msajax.api import open_run as open_run
    from msajax.api import predict as predict


def __getattr__(name: str) -> typing.Any:
    if name == "metrics":
        return importlib.import_module("msajax.metrics")
    if name in __all__:
        return getattr(importlib.import_module("msajax.api"), name)
    raise AttributeError(f"module 'msajax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
