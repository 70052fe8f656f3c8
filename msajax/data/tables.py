"""Rows of a csv file as dicts of strings, whatever its encoding and its separator."""

import csv
import io
import os
import pathlib
import re
from collections.abc import Sequence
from typing import Any

from msajax.data import columns, decode
from msajax.data.errors import DataError

# What the exceptions of the csv module mean: a part of the text, plain words.
_MEANINGS = {
    "field limit": f"a cell has more than {csv.field_size_limit():,} characters, as where "
    "a quote is missing",
    "unexpected end": 'a cell begins with a quote (") that is not closed',
    "expected after": 'text follows the quote (") at the end of a cell',
}


def header(path: str | os.PathLike, encoding: str = "") -> list[str]:
    """The column names of a csv file, as far as they can be read."""
    with open(path, "rb") as file:
        text = decode.beginning(file.read(2**16), encoding)
    line = _first_line(text)
    return [name.strip(' "') for name in line.split(_separator(line))]


def rows(
    path: str | os.PathLike,
    needed: Sequence[str],
    *,
    decoder: decode.Decoder | None = None,
) -> list[dict[str, str]]:
    """The rows of a csv file.

    Args:
      path: file to read; commas, tabs or semicolons are between its cells.
      needed: columns that must be there.
      decoder: of its text.

    Returns:
      One dict a row, of stripped strings.

    Raises:
      DataError: a missing column, or a row with too few or too many cells.
    """
    decoder = decoder or decode.Decoder()
    with open(path, "rb") as file:
        text = decoder.file(file.read(), name=pathlib.Path(path).name)
    separator = _separator(_first_line(text))
    lines = io.StringIO(text, newline="")
    table = _cells(csv.reader(lines, delimiter=separator, strict=True))
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


def _cells(reader: Any) -> list[list[str]]:
    try:
        return list(reader)
    except csv.Error as error:
        found = [words for part, words in _MEANINGS.items() if part in str(error)]
        raise DataError(
            f"truncated or damaged csv: line {reader.line_num}"
            f"{''.join(f': {words}' for words in found)}; correct it with a text editor, "
            "or copy or download the file again"
        ) from error


def _first_line(text: str) -> str:
    return re.split(r"[\r\n]", text, maxsplit=1)[0]


def _separator(header: str) -> str:
    return max(",\t;", key=header.count)
