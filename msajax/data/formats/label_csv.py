"""MMSA's label.csv: transcripts and labels of CMU-MOSI, CMU-MOSEI, CH-SIMS; text only.

Columns `video_id, clip_id, text, label, mode` (the split), in CH-SIMS also
`label_T, label_A, label_V`. The id of a row is `video_id$_$clip_id`, as in the
MMSA pickles. Rows of the mode `unlabeled` (or `unlabelled`) have no labels: their
cells of labels are not read.
"""

import os

import numpy as np

from msajax.data.errors import DataError, option
from msajax.data.formats import columns, labels, tables
from msajax.data.formats.decode import Decoder
from msajax.data.spec import DATASETS, Corpus, Split

COLUMNS = ("video_id", "clip_id", "text")
_LABELS = {
    "label": "label",
    "label_text": "label_T",
    "label_audio": "label_A",
    "label_vision": "label_V",
}
_WITHOUT = f'rows without a label have the mode "{columns.UNLABELLED}"'


def read(
    path: str | os.PathLike, *, dataset: str, decoder: Decoder, labels: bool = True
) -> Corpus:
    """The rows of a label.csv, before cleaning.

    Args:
      path: csv file.
      dataset: name in `DATASETS`.
      decoder: of its text.
      labels: False leaves the labels out.

    Returns:
      A corpus of `raw_text` and labels for `clean.clean`; without the column
      `mode` all rows are in the split 'all'.

    Raises:
      DataError: a missing column, or a cell that is empty or no number.
    """
    groups: dict[str, list[tables.Row]] = {}
    for row in tables.rows(path, COLUMNS, decoder=decoder):
        groups.setdefault(_split_name(row), []).append(row)
    splits = {}
    for name, group in groups.items():
        ids = [f"{row['video_id']}$_${row['clip_id']}" for row in group]
        texts = [row["text"] for row in group]
        arrays = {}
        if labels:
            without = name == columns.UNLABELLED
            arrays = _absent(group) if without else _labels(group, dataset)
        splits[name] = Split(
            columns.strings(ids, name="id"),
            columns.strings(texts, name="text"),
            arrays,
        )
    return Corpus(dataset, splits)


def _split_name(row: tables.Row) -> str:
    if row.get("mode") == "":
        raise DataError(
            f"{row.place}: the column mode is empty, expected the row's split: "
            f"{', '.join(columns.SPLITS)} or {columns.UNLABELLED}"
        )
    try:
        return columns.split_name(row["mode"]) if "mode" in row else "all"
    except DataError as error:
        raise DataError(f"{row.place}: {error}") from error


def _absent(rows: list[tables.Row]) -> dict[str, np.ndarray]:
    """NaN for the labels of rows without: the columns tell of which dataset they may be."""
    return {
        field: np.full(len(rows), np.nan)
        for field, column in _LABELS.items()
        if column in rows[0]
    }


def _labels(rows: list[tables.Row], dataset: str) -> dict[str, np.ndarray]:
    """The labels of a split's rows by field.

    Raises:
      DataError: a cell that is empty, or no number.
    """
    # A dataset of classes reads the names of the classes, where the file has them.
    if DATASETS[dataset].classes and "annotation" in rows[0]:
        _need_cells(rows, "annotation", _WITHOUT)
        return {"label": _annotations(rows)}
    if "label" not in rows[0] and "annotation" in rows[0]:
        advised = labels.of_names(_annotations(rows), dataset)
        raise DataError(
            'the column "label" is missing; the file has annotation: to train on these '
            f"classes, set {option('dataset', advised)}"
        )
    tables.need(rows[0], ["label"])
    _need_cells(rows, "label", _WITHOUT)
    found = {}
    for field, column in _LABELS.items():
        # Where labels of single modalities were not made, their columns are empty.
        if any(row.get(column) for row in rows):
            _need_cells(rows, column, f"fill them, or leave {column} out of the file")
            found[field] = np.array([tables.number(row, column) for row in rows])
    return found


def _annotations(rows: list[tables.Row]) -> np.ndarray:
    return columns.labels([row["annotation"] for row in rows], name="annotation")


def _need_cells(rows: list[tables.Row], column: str, advice: str) -> None:
    empty = [row.place for row in rows if not row[column]]
    if empty:
        raise DataError(
            f"{column} is empty in {len(empty)} of {len(rows)} rows, the first is "
            f"{empty[0]}; {advice}"
        )
