"""Cases: folders of numbers that a reference implementation computed.

`case.json` describes the run, `arrays.npz` holds inputs ('in/...'), weights
('param/...') and results ('out/...', 'loss/...', 'grad/...', 'grad_in/...').
"""

import dataclasses
import json
import os
import pathlib
from typing import Any

import numpy as np

from msajax.weights.files import read_npz

RESULTS = ("out/", "loss/", "grad/", "grad_in/")


class Arrays(dict[str, np.ndarray]):
    """Arrays by name; a missing one is the case's fault, not ours."""

    def __missing__(self, name: str) -> np.ndarray:
        raise ValueError(
            f'the case has no array "{name}"; here are: {", ".join(self) or "none"}'
        )


@dataclasses.dataclass(frozen=True)
class Case:
    """A run of a reference.

    Attributes:
      model: system or block.
      settings: its hyperparameters, by the reference's names.
      arrays: all arrays.
      noise: absolute rounding noise of single arrays, where the case states it.
    """

    model: str
    settings: dict[str, Any]
    arrays: Arrays
    noise: dict[str, float]

    def group(self, prefix: str) -> Arrays:
        """Arrays under a prefix, without it."""
        return Arrays(
            (name.removeprefix(prefix), array)
            for name, array in self.arrays.items()
            if name.startswith(prefix)
        )

    def expects(self, prefix: str) -> bool:
        """Whether any result has this prefix."""
        return any(name.startswith(prefix) for name in self.arrays)

    def setting(self, name: str) -> Any:
        """A hyperparameter; 'feature_dims' also finds 'feature_dims (t,a,v)'.

        Raises:
          ValueError: the case does not state it.
        """
        for key, value in self.settings.items():
            if name in key.split(" (")[0].split("/"):
                return value
        raise ValueError(
            f'case.json states no hyperparameter "{name}"; it has: '
            f"{', '.join(self.settings)}"
        )


def read_case(folder: str | os.PathLike[str]) -> Case:
    """Reads a case.

    Raises:
      ValueError: a file is missing or damaged, or an array that case.json lists
        is not there as it says.
    """
    folder = pathlib.Path(folder)
    for name in ("case.json", "arrays.npz"):
        if not (folder / name).is_file():
            raise ValueError(f"{folder} is no case: it has no file {name}")
    try:
        facts = json.loads((folder / "case.json").read_text())
        model, settings = facts["model"], facts["hyperparameters"]
        listed = {name: tuple(a["shape"]) for name, a in facts["arrays"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{folder / 'case.json'} does not describe a case; it needs model, "
            f"hyperparameters and arrays ({type(error).__name__}: {error})"
        ) from error
    arrays = Arrays(read_npz(folder / "arrays.npz"))
    found = {name: arrays[name].shape for name in listed if name in arrays}
    for name, shape in listed.items():
        if found.get(name) != shape:
            raise ValueError(
                f"{folder / 'arrays.npz'} does not fit case.json: {name} should be "
                f"{shape}, but is {found.get(name, 'missing')}"
            )
    return Case(model, settings, arrays, _noise(facts, arrays))


def _noise(facts: dict[str, Any], arrays: dict[str, np.ndarray]) -> dict[str, float]:
    # The noisiest array of each group, by its absolute and by its relative noise.
    noise: dict[str, float] = {}
    for check in facts.get("float64_check", {}).values():
        for key in ("max_abs_diff", "max_diff_over_max_value"):
            if isinstance(check, dict) and check.get(f"{key}_array") in arrays:
                name = check[f"{key}_array"]
                scale = 1 if key == "max_abs_diff" else np.max(np.abs(arrays[name]))
                noise[name] = max(noise.get(name, 0.0), float(check[key] * scale))
    return noise
