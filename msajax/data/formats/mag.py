"""The MAG pickle: CMU-MOSI and CMU-MOSEI aligned to words, without text features.

A dict of splits, each a list over rows of ((words, visual, acoustic), label,
segment): a list of n strings, [n, Dv] and [n, Da]. Rows are padded at the end
to the longest of their split.

Format: Rahman et al., "Integrating Multimodal Information in Large Pretrained
Transformers", ACL 2020, and its repository.
"""

import math
from typing import Any

import numpy as np

from msajax.data.errors import DataError
from msajax.data.formats import budget, columns
from msajax.data.formats.decode import Decoder
from msajax.data.spec import Corpus, Split


def convert(
    data: Any, *, dataset: str, decoder: Decoder, labels: bool = True
) -> Corpus:
    """The rows of a loaded MAG pickle, before cleaning.

    Args:
      data: what `pickles.load` returned.
      dataset: name in `DATASETS`.
      decoder: of its text.
      labels: False leaves the labels out.

    Returns:
      A corpus for `clean.clean`; `raw_text` is the words with spaces between.

    Raises:
      DataError: no such structure.
    """
    entries, notes = columns.splits(data)
    splits = {}
    for name, rows in entries.items():
        if not isinstance(rows, list | tuple):
            kind = type(rows).__name__
            raise DataError(
                f'the split "{name}" is of type {kind}, expected a list of rows'
            )
        splits[name] = _split(name, rows, decoder, labels=labels)
    return Corpus(dataset, splits, notes)


def _split(name: str, rows: list | tuple, decoder: Decoder, *, labels: bool) -> Split:
    texts, visuals, acoustics, targets, ids = [], [], [], [], []
    seen: set[int] = set()
    for i, row in enumerate(rows):
        try:
            (words, visual, acoustic), label, segment = row
        except (TypeError, ValueError) as error:
            raise DataError(
                f'row {i} of the split "{name}" is not ((words, visual, acoustic), '
                "label, segment)"
            ) from error
        if {id(visual), id(acoustic)} & seen:  # a small file could fill any memory
            raise DataError(f'row {i} of the split "{name}" has the arrays of another')
        seen |= {id(visual), id(acoustic)}
        text, number = _joined(words, decoder)
        texts.append(text)
        visuals.append(_steps(visual, number, "visual", i))
        acoustics.append(_steps(acoustic, number, "acoustic", i))
        targets.append(label)
        ids.append(segment)
    lengths = np.array([len(x) for x in visuals], np.float64)
    arrays = {"audio_length": lengths, "vision_length": lengths}
    arrays["audio"] = _stack(acoustics, "acoustic")
    arrays["vision"] = _stack(visuals, "visual")
    if labels:
        arrays["label"] = columns.labels(targets, name="label", decoder=decoder)
    raw_text = columns.strings(texts, name="words", decoder=decoder)
    ids = columns.strings(ids, name="segment", decoder=decoder)
    return Split(ids, raw_text, arrays)


def _joined(words: Any, decoder: Decoder) -> tuple[str | bytes, int]:
    """Words with spaces between, bytes as bytes (all rows are decoded together), and their number."""
    words = words.ravel().tolist() if isinstance(words, np.ndarray) else words
    if isinstance(words, list | tuple) and all(isinstance(w, bytes) for w in words):
        budget.spend(sum(map(len, words)), f"a row of {len(words)} words")
        return b" ".join(words), len(words)
    texts = columns.strings(words, name="words", decoder=decoder).tolist()
    return " ".join(texts), len(texts)


def _steps(values: Any, words: int, name: str, row: int) -> np.ndarray:
    """The features of a row's words: [n, D]."""
    x = columns.features(values, name=f"{name} of row {row}")
    if x.shape[:2] != (words, 1):
        raise DataError(
            f"{name} of row {row} has the shape {list(np.shape(values))}, but the row "
            f"has {words} words"
        )
    return x[:, 0]


def _stack(rows: list[np.ndarray], name: str) -> np.ndarray:
    """Rows [n, D] padded to the longest: [N, L, D] float32."""
    widths = {x.shape[1] for x in rows} or {1}
    if len(widths) > 1:
        raise DataError(f"{name} has other widths in other rows: {sorted(widths)}")
    shape = (len(rows), max([1, *map(len, rows)]), widths.pop())
    columns.spend_features(shape, name=name)
    budget.spend(4 * math.prod(shape), f"{name} {list(shape)}")  # until it is cleaned
    stacked = np.zeros(shape, np.float32)
    with np.errstate(all="ignore"):  # what becomes inf is counted in cleaning
        for x, padded in zip(rows, stacked, strict=True):
            padded[: len(x)] = x
    return stacked
