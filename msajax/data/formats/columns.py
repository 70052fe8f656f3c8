"""Columns of a file: N values in whatever container, turned into one array or refused."""

import itertools
import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from msajax.data.errors import DataError, decoding
from msajax.data.formats import budget
from msajax.data.formats.decode import Decoder
from msajax.data.spec import suggest

SPLITS = ("train", "valid", "test")
UNLABELLED = "unlabelled"  # the split of rows without labels
_ALIASES = {
    **dict.fromkeys(("dev", "val", "validation"), "valid"),
    **dict.fromkeys((UNLABELLED, "unlabeled"), UNLABELLED),
}
_LISTED = 30  # names of keys in a message
_LABELS_OF_A_ROW = 100  # else references could make one array many times
_MASK = 3  # a step's mask and its place while it is moved, as float32
_BYTE = 100  # bytes for each byte to decode
_PIECE = 12  # bytes of a word piece while it is checked
_OBJECT = 150  # bytes of an element as an object: its strings, its place in a dict


def split_name(name: str) -> str:
    """'train', 'valid', 'test' or 'unlabelled' for a split's name in a file ('dev' is 'valid').

    Raises:
      DataError: another name.
    """
    name = name.strip().lower()
    if name not in (*SPLITS, *_ALIASES):
        raise DataError(
            f'unknown split "{name[:40]}"{suggest(name, (*SPLITS, *_ALIASES))}'
        )
    return _ALIASES.get(name, name)


def splits(data: Any, *more: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The splits of a pickle by name, and a note on its other entries.

    Args:
      data: the pickle.
      *more: names of further splits of the format.

    Raises:
      DataError: one split under two names.
    """
    if not isinstance(data, dict):
        return {"all": data}, ()
    found: dict[str, Any] = {}
    left = []
    for key, entry in data.items():
        if key in more:
            found[key] = entry
        elif str(key).lower() not in (*SPLITS, *_ALIASES):
            left.append(key)
        elif (name := split_name(key)) in found:
            raise DataError(f'the file has the split "{name}" twice, under two names')
        else:
            found[name] = entry
    if not found:
        return {"all": data}, ()
    return found, (f"left out: {listed(left)}",) if left else ()


def get(entry: Mapping[str, Any], key: str, *, split: str = "all") -> Any:
    """`entry[key]`, of a split or of a file without splits ('all').

    Raises:
      DataError: no such key; names those that there are.
    """
    if key not in entry:
        where = "the file" if split == "all" else f'the split "{split}"'
        raise DataError(
            f'the key "{key}" is missing; {where} has: {listed(sorted(entry, key=str))}'
        )
    return entry[key]


def listed(names: Collection[Any]) -> str:
    """Names of keys or columns for a message: all of them, or the first and how many more."""
    shown = [_shown_name(name) for name in itertools.islice(names, _LISTED)]
    more = len(names) - len(shown)
    end = f", ... and {more} more ({len(names)} in all)" if more else ""
    return (", ".join(shown) or "none") + end


def strings(values: Any, *, name: str, decoder: Decoder | None = None) -> np.ndarray:
    """Strings, byte strings or numbers as [N] str; NaN as ''.

    Args:
      values: list, tuple or array.
      name: of the column, for errors.
      decoder: of byte strings.

    Raises:
      DataError: another element, or text out of proportion to the file.
    """
    flat = _flat(values, name)
    # The array has the width of the longest in every row.
    longest = max((len(x) for x in flat if isinstance(x, str | bytes)), default=0)
    what = f"{name}, {len(flat)} rows of which one is {longest} characters long"
    budget.spend(4 * longest * len(flat), what)
    # Where bytes are no UTF-8, every encoding is tried on them, letter by letter.
    size = sum(len(x) for x in flat if isinstance(x, bytes))
    budget.spend(_BYTE * size, f"{name}, {size} bytes to decode")
    flat = (decoder or Decoder()).strings(flat, name=name)
    texts = [_text(value, name) for value in flat]
    return np.array(texts, dtype=str)


def numbers(values: Any, *, name: str) -> np.ndarray:
    """Numbers as [N] float64.

    Args:
      values: list, tuple or array ([N], [N, 1], ...).
      name: of the column, for errors.

    Raises:
      DataError: something that is no number, or several a row.
    """
    if isinstance(values, np.ndarray) and values.size != len(np.atleast_1d(values)):
        raise DataError(
            f"{name} is an array {list(values.shape)}, expected one number a row, [N]"
        )
    flat = _flat(values, name)
    for value in flat:
        if not isinstance(value, int | float | np.number):
            raise DataError(f"{name} holds {_shown(value)}, expected numbers")
    try:
        return np.array(flat, np.float64)
    except (TypeError, OverflowError) as error:
        raise DataError(
            f"{name} holds a number that is complex or larger than 1.8e308, expected "
            "real numbers"
        ) from error


def labels(values: Any, *, name: str, decoder: Decoder | None = None) -> np.ndarray:
    """Labels as numbers or strings in the file's own shape: [N, ...] float64 or str.

    Args:
      values: a list of numbers, strings or small arrays, or an array [N, ...]; NaN among
        strings (an empty cell in pandas) is ''.
      name: of the column, for errors.
      decoder: of byte strings.

    Raises:
      DataError: something else, or rows of other shapes.
    """
    if isinstance(values, list | tuple) and any(
        isinstance(value, list | tuple | np.ndarray) for value in values
    ):
        values = _stacked(values, name)
    flat = _flat(values, name)
    shape = values.shape if isinstance(values, np.ndarray) else (len(flat),)
    if not shape:
        raise DataError(f"{name} is a single value, expected one for each row")
    if _are_names(flat):
        return strings(flat, name=name, decoder=decoder).reshape(shape)
    return numbers(flat, name=name).reshape(shape)


def _are_names(flat: list[Any]) -> bool:
    names = sum(isinstance(value, str | bytes) for value in flat)
    empty = sum(isinstance(value, float) and math.isnan(value) for value in flat)
    return names > 0 and names + empty == len(flat)


def _stacked(rows: list | tuple, name: str) -> np.ndarray:
    """A row for each small array, list or number."""
    with decoding(name):
        for row in rows:  # references could make one list many times
            if (count := _count(row)) > _LABELS_OF_A_ROW:
                raise DataError(f"{name} has rows of many values, expected numbers")
            budget.spend(_OBJECT * count, f"{name}, {len(rows)} rows of several values")
        arrays = [np.asarray(row, object) for row in rows]
    if all(array.size == 1 for array in arrays):
        arrays = [array.reshape(()) for array in arrays]
    shapes = list(dict.fromkeys(array.shape for array in arrays))
    if len(shapes) > 1 or arrays[0].size > _LABELS_OF_A_ROW:
        shown = " and ".join(str(list(shape)) for shape in shapes[:2])
        raise DataError(f"{name} has rows of the shapes {shown}, expected numbers")
    return np.stack(arrays)


def _count(row: Any) -> int:
    """Values of a row, of lists in lists too; counted no further than the limit of labels."""
    if isinstance(row, np.ndarray):
        return row.size
    if not isinstance(row, list | tuple):
        return 1
    total = 0
    for item in row:
        total += _count(item) or 1
        if total > _LABELS_OF_A_ROW:
            break
    return total


def are_whole(values: np.ndarray) -> np.ndarray:
    """Where an array holds whole numbers from 0 on that fit int32: a bool array."""
    return (values >= 0) & (values < 2**31) & (np.floor(values) == values)


def features(values: Any, *, name: str) -> np.ndarray:
    """Features as [N, L, D] numbers of the file's own type; [N, D] is one step.

    Args:
      values: array [N, L, D] or [N, D].
      name: of the modality, for errors.

    Raises:
      DataError: no such array.
    """
    if not isinstance(values, np.ndarray):
        raise DataError(
            f"{name} is of type {type(values).__name__}, expected an array [N, L, D]; stack "
            "the rows, padded with zeros at the end"
        )
    if values.ndim not in (2, 3) or values.dtype.kind not in "biufO":
        raise DataError(
            f"{name} is an array {list(values.shape)} of {values.dtype}, expected "
            "numbers [N, L, D] or [N, D]"
        )
    if 0 in values.shape[1:]:
        raise DataError(f"{name} is an array {list(values.shape)}: it has no features")
    spend_features(values.shape, name=name)
    if values.dtype.kind == "O":
        budget.spend(8 * values.size, f"{name} {list(values.shape)}")
        try:
            values = values.astype(np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            raise DataError(
                f"{name} is an array of objects that are not all numbers, expected "
                "numbers [N, L, D] or [N, D]"
            ) from error
    return values if values.ndim == 3 else values[:, None, :]


def word_pieces(text_bert: Any) -> dict[str, np.ndarray]:
    """The fields of `text_bert` [N, 3, L]: word pieces, mask and segments.

    Raises:
      DataError: another shape, or other numbers.
    """
    values = features(text_bert, name="text_bert")
    budget.spend(_PIECE * values.size, f"text_bert {list(values.shape)}")
    with np.errstate(all="ignore"):  # what is no whole number is refused below
        values = values.astype(np.float64)
    if values.shape[1] != 3:
        raise DataError(
            f"text_bert has the shape {list(values.shape)}, expected [N, 3, L]: word "
            "pieces, mask and segments"
        )
    ids, mask, segments = values[:, 0], values[:, 1], values[:, 2]
    if not are_whole(values).all():
        raise DataError("text_bert holds something else than whole numbers >= 0")
    if mask.max(initial=0) > 1 or np.any(np.diff(mask) > 0):
        raise DataError(
            "the mask of text_bert is no run of ones from the first step on"
        )
    return {
        "text_ids": ids.astype(np.int32),
        "text_type": segments.astype(np.int32),
        "text_length": mask.sum(axis=1),
    }


def spend_features(shape: tuple[int, ...], *, name: str) -> None:
    """Takes the memory of features [N, L, D] as float32, and of their mask, from the budget.

    What the file's own arrays take is not in it.

    Raises:
      DataError: they are out of proportion to the file.
    """
    steps, width = math.prod(shape[:-1]), shape[-1]
    budget.spend(4 * steps * (width + _MASK), f"{name} {list(shape)}")


def _flat(values: Any, name: str) -> list[Any]:
    if isinstance(values, np.ndarray | list | tuple):
        count = values.size if isinstance(values, np.ndarray) else len(values)
        budget.spend(_OBJECT * count, f"{name}, {count} values")
    if isinstance(values, np.ndarray):
        with decoding(name):  # bytes of a damaged file may be no characters
            return values.reshape(-1).tolist()
    if isinstance(values, list | tuple):
        return list(values)
    raise DataError(
        f"{name} is of type {type(values).__name__}, expected a list or an array"
    )


def _text(value: Any, name: str) -> str:
    if isinstance(value, str):
        # Lone surrogates, and code points of a damaged array that are none.
        return value.encode("utf-8", "replace").decode("utf-8", "replace")
    if isinstance(value, float | np.number):
        return "" if np.isnan(value) else str(value)  # NaN: an empty cell in pandas
    if isinstance(value, int) and value.bit_length() <= 64:
        return str(value)
    raise DataError(f"{name} holds {_shown(value)}, expected strings")


def _shown_name(key: Any) -> str:
    text = key.decode("latin-1") if isinstance(key, bytes) else str(key)
    return ascii(text[:40])[1:-1] + ("..." if len(text) > 40 else "")


def _shown(value: Any) -> str:
    if isinstance(value, str | bytes):
        return ascii(value[:40])
    return f"a {type(value).__name__}"
