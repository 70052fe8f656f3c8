"""The help of --help-config: every option of a recipe, from the dataclasses that declare them."""

import dataclasses
import inspect
import pydoc
import re
import textwrap
from typing import Any

from msajax import models
from msajax.data import typed
from msajax.run import model_options
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
        f"  --config.{key}={typed.plain(value)}",
        *textwrap.wrap(text, 88, initial_indent=" " * 6, subsequent_indent=" " * 6),
    ]


def _meanings(kind: type) -> dict[str, str]:
    """{attribute: its text} of a class's docstring and those of its bases.

    Where an entry names another class that has the attribute, it is that class's text.
    """
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        doc = inspect.cleandoc(base.__dict__.get("__doc__") or "")
        section = re.search(r"^Attributes:\n((?:  .*\n?|\n)*)", doc + "\n", re.M)
        if not section:
            continue
        # The names before the colon may take several lines.
        entry = r"^  (\w+(?:,\s+\w+)*):((?: .*)?(?:\n    .*)*)"
        for names, text in re.findall(entry, section[1], re.M):
            there = [_meanings(other) for other in _classes(text)]
            for name in re.split(r",\s+", names):
                texts = (m[name] for m in there if name in m)
                found[name] = next(texts, " ".join(text.split()))
    return found


def _classes(text: str) -> list[type]:
    """The classes of msajax that a text names in `backticks`."""
    named = map(pydoc.locate, re.findall(r"`(msajax\.[\w.]+)`", text))
    return [found for found in named if isinstance(found, type)]
