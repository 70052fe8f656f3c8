"""Which format a loaded pickle has, or what it is instead and what to do about it."""

from typing import Any

import numpy as np

from msajax.data.errors import DataError
from msajax.data.formats import columns
from msajax.data.spec import MODALITIES

_NPZ = 'save its rows as an .npz (msajax/data/README.md, "Your own data")'


def format_of(data: Any) -> str:
    """'mmsa', 'mult', 'mag' or 'conversations', by the structure of a loaded pickle.

    Raises:
      DataError: none of them; says what the pickle holds.
    """
    if isinstance(data, list | tuple) and _is_conversations(data):
        return "conversations"
    entries, _ = columns.splits(data)
    if len({id(entry) for entry in entries.values()}) < len(entries):
        raise DataError(
            f"some of the splits {', '.join(entries)} are one and the same object; ids "
            "must be unique across splits, so leave one of them out"
        )
    name, entry = next(iter(entries.items()))
    where = "the pickle" if name == "all" else f'the split "{name}"'
    if isinstance(entry, list | tuple) and any(map(_is_words, entry[:9])):
        return "mag"
    if not isinstance(entry, dict):
        raise DataError(
            f"{where} is {_shown(entry)}{_keys(entry)}; expected a dict of arrays, or a "
            f"list of ((words, visual, acoustic), label, segment); {_NPZ}"
        )
    values = list(entry.values())
    if values and all(isinstance(value, dict) for value in values):
        more = ", ..." if len(entry) > 3 else ""
        raise DataError(
            f"{where} is {_shown(entry)} by {columns.listed(list(entry)[:3])}{more}"
            f"{_keys(values)}; expected train, valid and test, each a dict of arrays; "
            f"{_NPZ}"
        )
    return "mult" if "labels" in entry else "mmsa"


def _is_conversations(data: list | tuple) -> bool:
    """Whether it holds several dicts by dialogue: of utterances, speakers, labels, features."""
    dicts = [part for part in data if isinstance(part, dict)]
    others = [part for part in data if not isinstance(part, dict | list | tuple | set)]
    if len(dicts) < 3 or others or {"id", "label", *MODALITIES} & dicts[0].keys():
        return False
    utterances = dicts[0].values()
    same = all(part.keys() == dicts[0].keys() for part in dicts[:3])
    return same and all(isinstance(x, list | tuple | np.ndarray) for x in utterances)


def _is_words(row: Any) -> bool:
    """Whether a row is MAG's: three, of which the first is three."""
    return isinstance(row, list | tuple) and len(row) == 3


def _shown(item: Any) -> str:
    if isinstance(item, np.ndarray):
        return f"an array {list(item.shape)} of {item.dtype}"
    if isinstance(item, dict | list | tuple) and len(item):
        parts = item.values() if isinstance(item, dict) else item
        kinds = dict.fromkeys(type(part).__name__ for part in parts)
        return f"a {type(item).__name__} of {len(item)} ({columns.listed(kinds)})"
    return f"of type {type(item).__name__}"


def _keys(rows: Any) -> str:
    """The keys of the first row, where it is a dict."""
    first = rows[0] if isinstance(rows, list | tuple) and rows else None
    if not isinstance(first, dict):
        return ""
    return f", the first with the keys {columns.listed(first)}"
