"""Rows of a csv file as dicts of strings, whatever its encoding."""

import csv
import io
import os
from collections.abc import Sequence

from msajax.data import columns
from msajax.data.errors import DataError, decoding

# Windows bytes in a UTF-8 file: undecodable ones (which "surrogateescape" keeps
# as U+DC80 and up) and those that a converter took for latin-1 (U+0080 to U+009F).
_WINDOWS = {}
for _byte in range(0x80, 0x100):
    _WINDOWS[0xDC00 + _byte] = bytes([_byte]).decode("cp1252", "replace")
    if _byte < 0xA0:
        _WINDOWS[_byte] = _WINDOWS[0xDC00 + _byte]


def header(path: str | os.PathLike) -> list[str]:
    """The column names of a csv file."""
    with open(path, "rb") as file:
        line = _decode(file.readline(2**16))
    return [name.strip(' "\r\n') for name in line.split(",")]


def rows(path: str | os.PathLike, needed: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a csv file.

    Args:
      path: file to read, in UTF-8 with or without Windows bytes in between.
      needed: columns that must be there.

    Returns:
      One dict a row, of stripped strings.

    Raises:
      DataError: a missing column, or a row with too few or too many cells.
    """
    with open(path, "rb") as file:
        text = _decode(file.read())
    with decoding("csv"):
        table = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    names = [name.strip() for name in table[0]] if table else []
    for name in needed:
        if name not in names:
            raise DataError(
                f'the column "{name}" is missing; the file has: {columns.listed(names)}'
            )
    found = []
    for number, cells in enumerate(table[1:], 2):
        if cells and len(cells) != len(names):
            raise DataError(
                f"row {number} has {len(cells)} cells, but the header has {len(names)}"
            )
        if cells:
            found.append(
                dict(zip(names, (cell.strip() for cell in cells), strict=True))
            )
    return found


def number(row: dict[str, str], column: str) -> float:
    """A cell as a number.

    Raises:
      DataError: another text.
    """
    try:
        return float(row[column])
    except ValueError:
        raise DataError(
            f'{column} is "{row[column][:40]}", expected a number'
        ) from None


def _decode(data: bytes) -> str:
    text = data.decode("utf-8-sig", "surrogateescape")
    return text.translate(_WINDOWS)
