"""Rows of a csv file as dicts of strings, whatever its encoding and its separator."""

import csv
import io
import os
import pathlib
import re
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from msajax.data.errors import DataError
from msajax.data.formats import columns, decode

# What the exceptions of the csv module mean: a part of the text, plain words.
_MEANINGS = {
    "field limit": f"a cell has more than {csv.field_size_limit():,} characters, as where "
    "a quote is missing",
    "unexpected end": 'a cell begins with a quote (") that is not closed',
    "expected after": 'text follows the quote (") at the end of a cell',
}


class Row(dict[str, str]):
    """The cells of a row by column.

    Attributes:
      place: of the row, for errors; the header is row 1.
    """

    def __init__(self, place: str, cells: Iterable[tuple[str, str]]):
        super().__init__(cells)
        self.place = place


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
) -> list[Row]:
    """The rows of a csv file.

    Args:
      path: file to read; commas, tabs or semicolons are between its cells.
      needed: columns that must be there.
      decoder: of its text.

    Returns:
      One dict a row, of stripped strings; empty lines are no rows.

    Raises:
      DataError: a missing column, or a row with too few or too many cells.
    """
    decoder = decoder or decode.Decoder()
    file = pathlib.Path(path)
    text = decoder.file(file.read_bytes(), name=file.name)
    separator = _separator(_first_line(text))
    lines = io.StringIO(text, newline="")
    table = _cells(csv.reader(lines, delimiter=separator, strict=True))
    names = [name.strip() for name in table[0]] if table else []
    need(names, needed)
    found = []
    for number, cells in enumerate(table[1:], 2):
        place = f"row {number} of {file.name}"
        if cells and len(cells) != len(names):
            cut = "; a file that was cut off ends so: copy or download it again"
            end = cut if number == len(table) else ""
            raise DataError(
                f"{place} has {len(cells)} cells, but the header has {len(names)}{end}"
            )
        if cells:
            stripped = (cell.strip() for cell in cells)
            found.append(Row(place, zip(names, stripped, strict=True)))
    return found


def need(names: Collection[str], needed: Iterable[str]) -> None:
    """Refuses a file without the columns that must be there.

    Raises:
      DataError: the first that is missing; names those that there are.
    """
    for name in needed:
        if name not in names:
            raise DataError(
                f'the column "{name}" is missing; the file has: {columns.listed(names)}'
            )


def number(row: Row, column: str) -> float:
    """A cell as a number.

    Raises:
      DataError: another text.
    """
    try:
        return float(row[column])
    except ValueError:
        raise DataError(
            f'{row.place}: {column} is "{row[column][:40]}", expected a number'
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
