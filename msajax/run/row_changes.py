"""Rows of recipes: the changes that an ablation, or another text encoder, makes to a data set's values."""

import dataclasses
from collections.abc import Callable, Collection, Mapping
from typing import Any

from msajax.data.spec import suggest
from msajax.run.options import Options

Changes = Mapping[str, Any]


def fitting(rows: Mapping[str, Changes], name: str, present: Collection[str]) -> Any:
    """The rows that are for a recipe, without the key that says so: {row: changes}.

    Args:
      rows: their keys are those of `apply`, and 'datasets', the recipes that a row is for.
      name: of the recipe, a key of DATASETS.
      present: modalities that it has; a row that leaves none of them is not for it.
    """
    return {
        row: {key: value for key, value in changes.items() if key != "datasets"}
        for row, changes in rows.items()
        if name in changes.get("datasets", (name,))
        and {*present} & {*changes.get("modalities", present)}
    }


def join(
    argument: str,
    rows: Mapping[str, Changes],
    numbered: Callable[[str], Changes | None],
    also: str,
) -> dict[str, Any]:
    """What rows change together: a later row's value of a key replaces an earlier one's."""
    chosen: dict[str, Changes] = {}
    for name in argument.split("+"):
        changes = rows[name] if name in rows else numbered(name)
        if changes is None:
            raise ValueError(f'unknown row "{name}"{suggest(name, rows)}{also}')
        chosen[name] = changes
    joined: dict[str, Any] = {}
    for changes in chosen.values():
        both = joined.get("modalities", changes.get("modalities", ()))
        joined |= changes
        if "modalities" in changes:  # a modality is left that all rows have
            joined["modalities"] = tuple(m for m in changes["modalities"] if m in both)
    if not joined.get("modalities", True):
        raise ValueError(f'the rows "{argument}" together leave no modality')
    for name, changes in chosen.items():
        others = [k for k in changes if k != "modalities"]
        if others and all(joined[k] != changes[k] for k in others):
            raise ValueError(
                f'nothing of the row "{name}" is left in "{argument}": later rows replace '
                f"its {', '.join(others)}; leave it out, or put it last"
            )
    return joined


_TOP = {f.name for f in dataclasses.fields(Options)}


def apply(found: dict[str, Any], changes: Changes) -> None:
    """Sets what rows change in the values of a recipe."""
    for key, value in changes.items():
        section, _, name = key.rpartition(".")
        if key == "modalities":
            present = found["data"].get("modalities", value)
            if not set(value) & set(present):
                raise ValueError(
                    f"the row keeps {', '.join(value)} alone, but this recipe has only "
                    f"{', '.join(present)}; leave the row out"
                )
            section, value = "data", tuple(m for m in value if m in present)
        if key in _TOP:
            found[key] = {**value} if isinstance(value, Mapping) else value
        else:
            found.setdefault(section or "model", {})[name or key] = value
