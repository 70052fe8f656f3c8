"""The help of --help-config: every option of a recipe, from the dataclasses that declare them."""

import dataclasses
import inspect
import re
import textwrap
from typing import Any

from msajax import models
from msajax.run import model_options, typed
from msajax.run.options import Options


def describe(options: Options) -> str:
    """Every option of a recipe: key, value, type and meaning, a paragraph for each section."""
    lines = []
    for field in dataclasses.fields(Options):
        value = getattr(options, field.name)
        if dataclasses.is_dataclass(value):
            lines += ["", f"config.{field.name}"]
            hints, meanings = typed.hints_of(type(value)), _meanings(type(value))
            for name, hint in hints.items():
                key = f"{field.name}.{name}"
                lines += _entry(key, getattr(value, name), hint, meanings.get(name, ""))
    kind = models.get(options.system)
    meanings = _meanings(kind)
    lines += ["", f"config.model: the hyperparameters of {options.system}"]
    for name, (hint, default) in model_options.fields(options.system).items():
        value = options.model.get(name, default)
        lines += _entry(f"model.{name}", value, hint, meanings.get(name, ""))
    top = _meanings(Options)
    lines += ["", "config"]
    for name, hint in typed.hints_of(Options).items():
        value = getattr(options, name)
        if name != "model" and not dataclasses.is_dataclass(value):
            lines += _entry(name, value, hint, top.get(name, ""))
    return "\n".join(lines[1:])


def _entry(key: str, value: Any, hint: Any, meaning: str) -> list[str]:
    text = f"{meaning} ({typed.described(hint)})".strip()
    return [
        f"  --config.{key}={value}",
        *textwrap.wrap(text, 88, initial_indent=" " * 6, subsequent_indent=" " * 6),
    ]


def _meanings(kind: type) -> dict[str, str]:
    """{attribute: its text} of a class's docstring and those of its bases."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        doc = inspect.cleandoc(base.__dict__.get("__doc__") or "")
        section = re.search(r"^Attributes:\n((?:  .*\n?|\n)*)", doc + "\n", re.M)
        if not section:
            continue
        entries = re.findall(r"^  ([\w, ]+): ((?:.*)(?:\n    .*)*)", section[1], re.M)
        for names, text in entries:
            found |= dict.fromkeys(names.split(", "), " ".join(text.split()))
    return found
