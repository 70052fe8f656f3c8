"""The MulT pickle: CMU-MOSI and CMU-MOSEI with GloVe text.

A dict of splits, each a dict of `text` [N, L, 300], `audio`, `vision` [N, L, D],
`labels` [N, 1, 1] and mostly `id` ([N] or [N, 3]: video, start, end).

Format: Tsai et al., "Multimodal Transformer for Unaligned Multimodal Language
Sequences", ACL 2019, and its repository.
"""

from typing import Any

import numpy as np

from msajax.data.errors import DataError
from msajax.data.formats import columns
from msajax.data.formats.decode import Decoder
from msajax.data.spec import MODALITIES, Corpus, Split


def convert(
    data: Any, *, dataset: str, decoder: Decoder, labels: bool = True
) -> Corpus:
    """The rows of a loaded MulT pickle, before cleaning.

    Args:
      data: what `pickles.load` returned; its arrays are taken out, to save memory.
      dataset: name in `DATASETS`.
      decoder: of its text.
      labels: False leaves the labels out.

    Returns:
      A corpus for `clean.clean`; rows without an id are numbered.

    Raises:
      DataError: no such structure, or a missing key.
    """
    entries, notes = columns.splits(data)
    splits = {}
    for name, entry in entries.items():
        if not isinstance(entry, dict):
            kind = type(entry).__name__
            raise DataError(
                f'the split "{name}" is of type {kind}, expected a dict of arrays'
            )
        splits[name] = _split(name, entry, decoder, labels=labels)
    return Corpus(dataset, splits, notes)


def _split(
    split: str, entry: dict[str, Any], decoder: Decoder, *, labels: bool
) -> Split:
    if not any(name in entry for name in MODALITIES):
        columns.get(entry, "text", split=split)
    if labels:  # before anything is taken out
        columns.get(entry, "labels", split=split)
    arrays = {
        name: columns.features(entry.pop(name), name=name)
        for name in MODALITIES
        if name in entry
    }
    rows = len(next(iter(arrays.values())))
    if labels:
        arrays["label"] = columns.labels(
            entry["labels"], name="labels", decoder=decoder
        )
    if "id" in entry:
        parts = columns.strings(entry["id"], name="id", decoder=decoder).tolist()
        size = max(len(parts) // max(rows, 1), 1)  # strings to an id
        ids = ["_".join(parts[i : i + size]) for i in range(0, len(parts), size)]
    else:
        ids = [f"{split}_{row}" for row in range(rows)]
    return Split(columns.strings(ids, name="id"), np.full(len(ids), ""), arrays)
