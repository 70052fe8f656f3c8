"""MMSA's label.csv: transcripts and labels of CMU-MOSI, CMU-MOSEI, CH-SIMS; text only.

Columns `video_id, clip_id, text, label, mode` (the split), in CH-SIMS also
`label_T, label_A, label_V`. The id of a row is `video_id$_$clip_id`, as in the
MMSA pickles.
"""

import os

import numpy as np

from msajax.data import columns, tables
from msajax.data.decode import Decoder
from msajax.data.spec import Corpus, Split

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
      DataError: a missing column or a cell that is no number.
    """
    rows = tables.rows(
        path, (*COLUMNS, "label") if labels else COLUMNS, decoder=decoder
    )
    groups: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        name = columns.split_name(row["mode"]) if "mode" in row else "all"
        groups.setdefault(name, []).append(row)
    splits = {}
    for name, group in groups.items():
        arrays = {
            field: np.array([tables.number(row, column) for row in group])
            for field, column in _LABELS.items()
            if labels and column in group[0]
        }
        ids = [f"{row['video_id']}$_${row['clip_id']}" for row in group]
        texts = [row["text"] for row in group]
        splits[name] = Split(
            columns.strings(ids, name="id"), columns.strings(texts, name="text"), arrays
        )
    return Corpus(dataset, splits)
