"""MMSA's label.csv: transcripts and labels of CMU-MOSI, CMU-MOSEI, CH-SIMS; text only.

Columns `video_id, clip_id, text, label, mode` (the split), in CH-SIMS also
`label_T, label_A, label_V`. The id of a row is `video_id$_$clip_id`, as in the
MMSA pickles. Rows of the mode `unlabeled` (or `unlabelled`) have no labels: their
cells of labels are not read.
"""

import os

import numpy as np

from msajax.data import columns, tables
from msajax.data.decode import Decoder
from msajax.data.errors import DataError
from msajax.data.spec import DATASETS, Corpus, Split

COLUMNS = ("video_id", "clip_id", "text")
_LABELS = {
    "label": "label",
    "label_text": "label_T",
    "label_audio": "label_A",
    "label_vision": "label_V",
}


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
        labelled = labels and name != columns.UNLABELLED
        splits[name] = Split(
            columns.strings(ids, name="id"),
            columns.strings(texts, name="text"),
            _labels(group, DATASETS[dataset].classes) if labelled else {},
        )
    return Corpus(dataset, splits)


def _split_name(row: tables.Row) -> str:
    try:
        return columns.split_name(row["mode"]) if "mode" in row else "all"
    except DataError as error:
        raise DataError(f"{row.place}: {error}") from error


def _labels(rows: list[tables.Row], classes: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The labels of a split's rows by field.

    Raises:
      DataError: a cell that is empty, or no number.
    """
    # A dataset of classes takes theirs, where the file names them.
    if classes and "annotation" in rows[0]:
        _need_cells(rows, "annotation")
        names = [row["annotation"] for row in rows]
        return {"label": columns.labels(names, name="annotation")}
    tables.need(rows[0], ["label"])
    _need_cells(rows, "label")
    return {
        field: np.array([tables.number(row, column) for row in rows])
        for field, column in _LABELS.items()
        # Where labels of single modalities were not made, their columns are empty.
        if any(row.get(column) for row in rows)
    }


def _need_cells(rows: list[tables.Row], column: str) -> None:
    empty = [row.place for row in rows if not row[column]]
    if empty:
        raise DataError(
            f"{column} is empty in {len(empty)} of {len(rows)} rows, the first is "
            f'{empty[0]}; rows without a label have the mode "unlabelled"'
        )
