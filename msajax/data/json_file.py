"""JSON files checked against a type: every JSON file that msajax reads comes through here.

Files on disk are edited, cut short and copied together from other versions, so
none is trusted: a list for a dict, a missing key, text for a number, NaN or deep
nesting is an error that names the file and the key.
"""

import functools
import pathlib
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

import pydantic
import pydantic_core

from msajax.data.errors import DataError

T = TypeVar("T")


def read(
    path: pathlib.Path,
    kind: type[T],
    *,
    advice: str,
    extra: Literal["forbid", "ignore"] = "forbid",
    nan: bool = False,
) -> T:
    """The content of a JSON file as a value of a type.

    Args:
      path: file to read.
      kind: a dataclass, or a type such as `dict[str, int]`. Its fields may carry
        bounds: `Annotated[int, annotated_types.Gt(0)]`.
      advice: the end of each message: what the reader should do.
      extra: whether keys that a dataclass does not have are an error.
      nan: whether NaN and infinities are values.

    Returns:
      The value. Numbers are never made of text, nor whole numbers of fractions.

    Raises:
      DataError: the file cannot be read, is no JSON, or does not fit the type.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror}); {advice}"
        ) from error
    return parse(text, kind, name=str(path), advice=advice, extra=extra, nan=nan)


def parse(
    text: str | bytes,
    kind: type[T],
    *,
    name: str,
    advice: str,
    extra: Literal["forbid", "ignore"] = "forbid",
    nan: bool = False,
) -> T:
    """As `read`, of a text; name stands for it in messages."""
    try:
        # The parser of its own: validation alone would let NaN pass for a float.
        pydantic_core.from_json(text, allow_inf_nan=nan)
        return _adapter(kind).validate_json(text, strict=True, extra=extra)
    except pydantic.ValidationError as error:
        raise DataError(f"{name}: {_first(error)}; {advice}") from error
    except ValueError as error:
        shown = ascii(str(error)[:200])[1:-1]
        raise DataError(f"{name} is no JSON ({shown}); {advice}") from error


def check(values: Mapping[str, Any], kind: type[T]) -> T:
    """A dataclass of plain values, which have its types and bounds.

    Raises:
      DataError: names the first field that has another value.
    """
    try:
        return _adapter(kind).validate_python(dict(values), strict=False)
    except pydantic.ValidationError as error:
        raise DataError(_first(error)) from error


@functools.cache
def _adapter(kind: Any) -> pydantic.TypeAdapter:
    return pydantic.TypeAdapter(kind)


def _first(error: pydantic.ValidationError) -> str:
    """The first thing that is wrong, and how many more there are."""
    first, *more = error.errors(include_url=False)
    key = ".".join(ascii(str(part)[:80])[1:-1] for part in first["loc"])
    where = f'"{key}"' if key else "the content"
    if first["type"] == "missing":
        text = f"{where} is missing"
    elif first["type"] == "unexpected_keyword_argument":
        text = f"{where} is no known key"
    elif first["type"] == "value_error":  # a dataclass's own check, which names the key
        text = str(first.get("ctx", {}).get("error"))
    else:
        text = f"{where} is {_shown(first['input'])}: {_lower(first['msg'])}"
    return f"{text} (and {len(more)} more)" if more else text


def _shown(value: Any) -> str:
    return ascii(repr(value)[:60])[1:-1]


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
