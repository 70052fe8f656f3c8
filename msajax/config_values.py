"""Values of a config, from its file, its JSON text or the command line."""

import ast
import dataclasses
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from msajax.data.spec import suggest


def make(kind: type, values: Mapping[str, Any], what: str) -> Any:
    """A dataclass from plain values, each of the type of its default.

    Raises:
      ValueError: an unknown key, or a value of another type.
    """
    defaults = {f.name: f.default for f in dataclasses.fields(kind)}
    for name, value in values.items():
        if name not in defaults:
            raise ValueError(f'unknown {what} key "{name}"{suggest(name, defaults)}')
        if defaults[name] is not dataclasses.MISSING:
            coerce(f"{what} key {name}", value, defaults[name])
    return kind(**values)


def parse(text: str) -> Any:
    """A python literal, or the text itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def coerce(key: str, value: Any, like: Any) -> Any:
    """A value as the default that it replaces has it.

    Raises:
      ValueError: it is of another type.
    """
    if isinstance(value, ConfigDict):
        value = value.to_dict()
    if isinstance(like, tuple) and isinstance(value, (list, tuple)):
        return tuple(value)
    if "auto" in (like, value) and {type(like), type(value)} == {int, str}:
        return value
    if isinstance(like, tuple) and like and type(value) is type(like[0]):
        return (value,)
    if type(like) is float and type(value) is int:
        return float(value)
    if like is not None and type(value) is not type(like):
        raise ValueError(
            f"{key} is {value!r} ({type(value).__name__}), but must be of type "
            f"{type(like).__name__}, as {like!r}"
        )
    return value


def tuples(value: Any) -> Any:
    """A value with tuples in place of lists, at any depth."""
    if isinstance(value, list | tuple):
        return tuple(tuples(v) for v in value)
    if isinstance(value, dict):
        return {k: tuples(v) for k, v in value.items()}
    return value
