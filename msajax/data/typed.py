"""Values checked against the type annotations of dataclasses: of recipes, JSON and the command line."""

import ast
import dataclasses
import functools
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any

import pydantic
from annotated_types import Ge, Gt, Le, Lt

from msajax.data.spec import suggest

Count = Annotated[int, Ge(0)]
NotNegative = Annotated[float, Ge(0)]
Positive = Annotated[float, Gt(0)]
Share = Annotated[float, Ge(0), Le(1)]
PositiveShare = Annotated[float, Gt(0), Le(1)]
ShareBelowOne = Annotated[float, Ge(0), Lt(1)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checked:
    """Base of dataclasses whose values are checked by their annotations, however they are made.

    Attributes:
      where: the start of a key in messages, 'config.train'.
    """

    where: dataclasses.InitVar[str] = ""

    def __post_init__(self, where: str):
        for name, hint in hints_of(type(self)).items():
            key, value = f"{where}.{name}", getattr(self, name)
            if not dataclasses.is_dataclass(hint):
                value = frozen(convert(key, value, hint))
                object.__setattr__(self, name, value)
            elif not isinstance(value, hint):  # pyright: ignore
                raise ValueError(f"{key} is {value!r}; give {hint.__name__}(...)")  # pyright: ignore


def make(kind: type, values: Mapping[str, Any], where: str) -> Any:
    """A dataclass from plain values; dicts become the dataclasses of its fields.

    Args:
      kind: a dataclass. It checks the values that its types do not bound itself.
      values: {field: value}; other fields have their defaults.
      where: the start of a key in messages, 'config.train'.

    Raises:
      ValueError: an unknown field, or a value of another type.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{where} is {values!r}, but must be a dict")
    hints = hints_of(kind)
    made = {}
    for name, value in values.items():
        if name not in hints:
            raise ValueError(unknown(name, where, hints))
        key, hint = f"{where}.{name}", hints[name]
        if dataclasses.is_dataclass(hint):
            made[name] = value if isinstance(value, hint) else make(hint, value, key)  # type: ignore
        else:
            made[name] = convert(key, value, hint)
    return kind(**made, **({"where": where} if issubclass(kind, Checked) else {}))


def unknown(name: str, where: str, hints: Mapping[str, Any]) -> str:
    """The error on a key that a section lacks: the sections in it that have the key, or the nearest."""
    sections = {k: hints_of(h) for k, h in hints.items() if dataclasses.is_dataclass(h)}  # pyright: ignore
    found = [
        f'"{key}.{wanted}"'
        for wanted in (f"{name}s", name)  # 'seed': train.seeds before data.seed
        for key, inner in sections.items()
        if wanted in inner
    ]
    if not found:
        return f'unknown key "{name}" in {where}{suggest(name, hints)}'
    return (
        f'unknown key "{name}" in {where}; did you mean {" or ".join(found)}? Known: '
        f"{', '.join(sorted(hints))}"
    )


@functools.cache
def hints_of(kind: type) -> dict[str, Any]:
    """The types of a dataclass's fields."""
    hints = typing.get_type_hints(kind, include_extras=True)
    return {f.name: hints[f.name] for f in dataclasses.fields(kind)}


def convert(key: str, value: Any, hint: Any) -> Any:
    """A value as its type has it: lists become tuples, whole numbers floats.

    Raises:
      ValueError: it is of another type, or out of the type's bounds.
    """
    value = as_tuples(value)
    if _is_tuple(hint) and not isinstance(value, tuple) and value is not None:
        value = (value,)
    try:
        return _adapter(hint).validate_python(value, strict=True)
    except pydantic.ValidationError as error:
        found = error.errors(include_url=False)[0]
        raise ValueError(f"{key} is {value!r}, but {_told(found, hint)}") from error


def frozen(value: Any) -> Any:
    """A value with mappings that nobody can change in place of dicts, at any depth."""
    if isinstance(value, tuple):
        return tuple(frozen(v) for v in value)
    if isinstance(value, Mapping):
        return types.MappingProxyType({k: frozen(v) for k, v in value.items()})
    return value


def plain(value: Any) -> Any:
    """A value with dicts for dataclasses and mappings; `dataclasses.asdict` copies no frozen ones."""
    if dataclasses.is_dataclass(value):
        return {
            f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)
        }
    if isinstance(value, Mapping):
        return {k: plain(v) for k, v in value.items()}
    return tuple(map(plain, value)) if isinstance(value, tuple) else value


def parse(key: str, text: str, hint: Any) -> Any:
    """The value that a text of the command line stands for.

    Args:
      key: for messages, 'config.train.seeds'.
      text: a python literal, or bare words: 'text,audio' and '1,2,3' are tuples.
      hint: the type of the key. Text stays as it is where the type is str.

    Raises:
      ValueError: a literal of a tuple that is none.
    """
    if (
        _is_tuple(hint)
        and text.lstrip()[:1] in ("(", "[", "{")
        and _literal(text) is text
    ):
        raise ValueError(
            f"{key} is {text}, which is no Python literal; write a dict as "
            "{'name': 'main', 'epochs': 10}, and text in quotes"
        )
    if _is_tuple(hint) and "," in text and _literal(text) is text:
        parts = [part.strip() for part in text.split(",")]
        return tuple(map(_literal, parts[:-1] if parts[-1] == "" else parts))
    value = _literal(text)
    return text if hint is str and not isinstance(value, str) else value


def as_tuples(value: Any) -> Any:
    """A value with tuples in place of lists, at any depth."""
    if isinstance(value, list | tuple):
        return tuple(as_tuples(v) for v in value)
    if isinstance(value, Mapping):
        return {k: as_tuples(v) for k, v in value.items()}
    return value


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _is_tuple(hint: Any) -> bool:
    return typing.get_origin(hint) is tuple


@functools.cache
def _adapter(hint: Any) -> pydantic.TypeAdapter:
    # JSON, as which options are saved, has neither infinity nor NaN.
    return pydantic.TypeAdapter(hint, config={"allow_inf_nan": False})


_WORDS = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "True or False",
    type(None): "None",
}


def described(hint: Any) -> str:
    """A type in words: 'a whole number', 'a list of 3 whole numbers'."""
    origin, kinds = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return described(kinds[0])
    if origin is typing.Literal:
        names = ", ".join(map(str, kinds))
        return f"one of {names}" if len(kinds) > 1 else names
    if origin is Mapping:
        return "a dict"
    if origin is tuple and ... in kinds:
        return f"a list of {_plural(described(kinds[0]))}"
    if origin is tuple:
        each = [described(kind) for kind in kinds]
        if len({*each}) == 1:
            return f"a list of {len(kinds)} {_plural(each[0])}"
        return f"a {'pair' if len(each) == 2 else 'tuple'} ({', '.join(each)})"
    if origin is not None:
        return " or ".join(described(kind) for kind in kinds)
    return _WORDS.get(hint, getattr(hint, "__name__", str(hint)))


def _plural(words: str) -> str:
    """Of what `described` says: 'whole numbers' of 'a whole number'."""
    if not words.startswith("a "):
        return {"text": "texts"}.get(words, f"values, each {words}")
    noun, space, rest = words.removeprefix("a ").partition(" (")
    return f"{noun}s{space}{rest}"


# Words for the bounds of pydantic's errors, and where their numbers are.
_BOUNDS = {
    "greater_than": ("above", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("below", "lt"),
    "less_than_equal": ("at most", "le"),
}


def _told(found: Any, hint: Any) -> str:
    """What a value must be, from the first thing that pydantic found."""
    if found["type"] in _BOUNDS:
        word, bound = _BOUNDS[found["type"]]
        each = "each " if _is_tuple(hint) else ""
        return f"{each}must be {word} {found['ctx'][bound]}"
    finite = ", and finite" if found["type"] == "finite_number" else ""
    return f"must be {described(hint)}{finite}"
