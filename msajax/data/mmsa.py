"""The MMSA pickle: CMU-MOSI, CMU-MOSEI (aligned, unaligned), CH-SIMS, CH-SIMS v2.

A dict of splits, each a dict of arrays over N rows: `id`, `raw_text`, `text`
[N, Lt, 768] BERT features, `text_bert` [N, 3, Lt] (word pieces, mask, segments),
`audio`, `vision` [N, L, D], `regression_labels` (CH-SIMS: also `_T`, `_A`, `_V`),
and in unaligned files `audio_lengths`, `vision_lengths`.

Format: Mao et al., "M-SENA: An Integrated Platform for Multimodal Sentiment
Analysis", ACL 2022 demos, and its MMSA repository.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from msajax.data import columns
from msajax.data.decode import Decoder
from msajax.data.errors import DataError
from msajax.data.spec import MODALITIES, Corpus, Split

_LABELS = {
    "label": "regression_labels",
    "label_text": "regression_labels_T",
    "label_audio": "regression_labels_A",
    "label_vision": "regression_labels_V",
}


class File(NamedTuple):
    """What a published file holds: rows (train, valid, test), widths and lengths."""

    rows: tuple[int, int, int]
    dims: tuple[int, int, int]
    lengths: tuple[int, int, int]


# Source: the files of the MMSA download.
_MOSI, _MOSEI = (1284, 229, 686), (16326, 1871, 4659)
FILES: Mapping[str, File] = {
    "mosi/aligned": File(_MOSI, (768, 5, 20), (50, 50, 50)),
    "mosi/unaligned": File(_MOSI, (768, 5, 20), (50, 375, 500)),
    "mosei/aligned": File(_MOSEI, (768, 74, 35), (50, 50, 50)),
    "mosei/unaligned": File(_MOSEI, (768, 74, 35), (50, 500, 500)),
    "sims/unaligned": File((1368, 456, 457), (768, 33, 709), (39, 400, 55)),
    "simsv2/unaligned": File((2722, 647, 1034), (768, 25, 177), (50, 925, 232)),
}


def convert(
    data: Any, *, dataset: str, decoder: Decoder, labels: bool = True
) -> Corpus:
    """The rows of a loaded MMSA pickle, before cleaning.

    Args:
      data: what `pickles.load` returned; its arrays are taken out, to save memory.
      dataset: name in `DATASETS`.
      decoder: of its text.
      labels: False leaves the labels out.

    Returns:
      A corpus for `clean.clean`.

    Raises:
      DataError: no such structure, or a missing key.
    """
    entries, notes = columns.splits(data)
    splits = {
        name: _split(name, entry, decoder, labels=labels)
        for name, entry in entries.items()
    }
    return Corpus(dataset, splits, notes)


def _split(split: str, entry: Any, decoder: Decoder, *, labels: bool) -> Split:
    if not isinstance(entry, dict):
        raise DataError(
            f"a split is of type {type(entry).__name__}, expected a dict of arrays"
        )
    needed = ("id", _LABELS["label"]) if labels else ("id",)
    for key in needed:  # before anything is taken out
        columns.get(entry, key, split=split)
    ids = columns.strings(entry["id"], name="id", decoder=decoder)
    arrays: dict[str, np.ndarray] = {}
    for name in MODALITIES:
        if name in entry:
            arrays[name] = columns.features(entry.pop(name), name=name)
        if f"{name}_lengths" in entry:
            lengths = columns.numbers(entry[f"{name}_lengths"], name=f"{name}_lengths")
            arrays[f"{name}_length"] = lengths
    if "text_bert" in entry:
        arrays |= _word_pieces(entry["text_bert"])
    if labels:
        for name, key in _LABELS.items():
            if key in entry:
                arrays[name] = columns.numbers(entry[key], name=key)
    raw_text = entry.get("raw_text", [""] * len(ids))
    texts = columns.strings(raw_text, name="raw_text", decoder=decoder)
    return Split(ids, texts, arrays)


def _word_pieces(text_bert: Any) -> dict[str, np.ndarray]:
    with np.errstate(all="ignore"):  # what is no whole number is refused below
        values = columns.features(text_bert, name="text_bert").astype(np.float64)
    if values.shape[1] != 3:
        raise DataError(
            f"text_bert has the shape {list(values.shape)}, expected [N, 3, L]: word "
            "pieces, mask and segments"
        )
    ids, mask, segments = values[:, 0], values[:, 1], values[:, 2]
    if not columns.are_whole(values).all():
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
