"""Rows without labels beside the labelled ones of training, for systems that learn from both.

A reader keeps them in a split of their own. Training takes them only where it is asked
to (config.data.unlabelled): the split "train" then holds both, and `labelled` says which.
"""

import dataclasses
from typing import Any

import numpy as np

from msajax.data import splits, videos
from msajax.data.errors import DataError
from msajax.data.formats.columns import UNLABELLED
from msajax.data.spec import Corpus, Split

# config.data.unlabelled: the rows without labels of the data file itself.
OWN_ROWS = "train_mix"

# What to do with a file that has rows without labels alone.
ADVICE = (
    "train on its rows beside a file that has labels: "
    "--config.data.path=LABELLED --config.data.unlabelled={}"
)


def drop(corpus: Corpus, *, advise: bool = False) -> Corpus:
    """The corpus without the split of rows that have no labels; a note says how many.

    Args:
      corpus: as it was read.
      advise: say how to train on them too.
    """
    if UNLABELLED not in corpus.splits or len(corpus.splits) == 1:
        return corpus
    splits = {k: split for k, split in corpus.splits.items() if k != UNLABELLED}
    note = f"left out: {len(corpus.splits[UNLABELLED])} rows without labels"
    if advise:
        note += f" (config.data.unlabelled={OWN_ROWS} trains on them too)"
    return dataclasses.replace(corpus, splits=splits, notes=(*corpus.notes, note))


def rows_of(path: str, corpus: Corpus) -> Split:
    """The rows of a file to train on without labels.

    Raises:
      ValueError: its splits are others.
    """
    for name in (UNLABELLED, "train", "all"):
        if name in corpus.splits:
            return corpus.splits[name]
    raise ValueError(
        f'{path} is to be trained on, but has no split "train" or "unlabelled", only '
        f"{', '.join(corpus.splits)}; leave its splits out to take all rows"
    )


def join(corpus: Corpus, rows: Split | None) -> Corpus:
    """The corpus whose training split ends with rows without labels.

    Args:
      corpus: cleaned, with the split "train".
      rows: without labels, cleaned; None adds none.

    Returns:
      The corpus without the split "unlabelled", with a note on the rows; `labelled` is in
      all of its splits.

    Raises:
      DataError: rows that lack a modality of the training split, have other widths, or
        an id that is taken.
    """
    splits = {k: split for k, split in corpus.splits.items() if k != UNLABELLED}
    if rows is not None:
        splits["train"] = joined(splits["train"], rows)
    for name, split in splits.items():
        known = {"labelled": np.ones(len(split), bool)} | split.arrays
        splits[name] = Split(split.ids, split.raw_text, known)
    train = splits["train"]
    without = np.count_nonzero(~train.arrays["labelled"])
    note = (
        f"training: {len(train) - without} rows with labels, {without} without"
        if without
        else "training: no row is without a label, although config.data.unlabelled asks "
        "for such rows (train_mix, or a file of them)"
    )
    return dataclasses.replace(corpus, splits=splits, notes=(*corpus.notes, note))


def joined(train: Split, rows: Split) -> Split:
    """A training split and rows whose labels do not count behind it; `labelled` says which they are."""
    taken = np.isin(rows.ids, train.ids)
    if taken.any():
        raise DataError(
            f'the id "{rows.ids[taken][0][:80]}" of a row without a label is also in the '
            f'split "train" ({np.count_nonzero(taken)} such ids); ids must be unique'
        )
    train, rows = videos.apart([train, rows])
    arrays = {}
    count, more = len(train), len(rows)
    known = train.arrays.get("labelled", np.ones(count, bool))
    arrays["labelled"] = np.concatenate([known, np.zeros(more, bool)])
    for key, array in train.arrays.items():
        if key.startswith("label"):
            other = np.zeros(more, array.dtype)
            arrays.setdefault(key, np.concatenate([array, other]))
        elif key not in rows.arrays:
            raise DataError(
                f"the rows without labels lack {key}, which those of training have; they "
                f"have: {', '.join(sorted(rows.arrays)) or 'raw text alone'}"
            )
        else:
            arrays[key] = _one_after_the_other(key, array, rows.arrays[key])
    ids, texts = (
        np.concatenate(pair)
        for pair in ((train.ids, rows.ids), (train.raw_text, rows.raw_text))
    )
    return Split(ids, texts, arrays)


def _one_after_the_other(key: str, first: Any, second: Any) -> Any:
    """[N, ...] and [M, ...], padded to the longer sequences -> [N + M, ...]."""
    if first.shape[2:] != second.shape[2:]:
        raise DataError(
            f"{key} has {second.shape[-1]} features per step in the rows without labels, "
            f'but {first.shape[-1]} in the split "train"'
        )
    return splits.take([first, second])
