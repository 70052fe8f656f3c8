"""Curves of a run on rows that lack a modality, or whose modality is noisy."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from msajax.data import loader, stored
from msajax.data.spec import Split
from msajax.run import corpora, inference, placed, unread
from msajax.run.run import Run

# Shares of the rows of test that lack the modality, or of the text's pieces that are others.
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
# Standard deviations of the noise, in those of each feature over the real steps of test.
LEVELS = (0.0, 0.5, 1.0, 2.0)
_SEED = 0
# Rows of a store that are read at a time.
_ROWS = 256

# A split, a modality and a level to the changed split.
Change = Callable[[Split, str, float], Split]


def missing(
    rows: Split,
    modality: str,
    share: float,
    *,
    blank: Mapping[str, np.ndarray] = {},
) -> Split:
    """A share of the rows without the modality; a larger share holds the rows of a smaller one.

    Args:
      rows: of a split.
      modality: to remove.
      share: of the rows, in [0, 1].
      blank: fields [1, ...] of a row that lacks it, where those are not zeros: those of
        `corpora.wordless` for text that an encoder reads.

    Returns:
      A new split.
    """
    order = np.random.default_rng(_SEED).permutation(len(rows))
    gone = np.zeros(len(rows), bool)
    gone[order[: round(share * len(rows))]] = True

    def without(name: str, array: Any) -> Any:
        empty = np.zeros(array.shape[1:], array.dtype)
        if name in blank:
            empty = loader.resize(blank[name], array.shape[1])[0]
        return stored.changed(array, lambda row, x: empty if gone[row] else x)

    return _with(rows, modality, without)


def noisy(rows: Split, modality: str, level: float) -> Split:
    """Gaussian noise on the real steps of a modality's features."""
    mask = rows.arrays[f"{modality}_mask"]
    scale = level * _deviation(rows.arrays[modality], mask)

    def add(row: int, x: np.ndarray) -> np.ndarray:
        noise = np.random.default_rng((_SEED, row)).normal(size=x.shape) * scale
        return (x + noise * mask[row][..., None]).astype(x.dtype)

    array = stored.changed(rows.arrays[modality], add)
    return dataclasses.replace(rows, arrays={**rows.arrays, modality: array})


def replaced(rows: Split, modality: str, share: float) -> Split:
    """A share of the text's word pieces (or words of a vocabulary), each replaced by one of another place in the split.

    Pieces that every row has stay: the encoder's special tokens.
    """
    del modality  # the text
    ids, rng = rows.arrays["text_ids"], np.random.default_rng(_SEED)
    mask = rows.arrays["text_mask"]
    texts = [set(x[m].tolist()) for x, m in zip(ids, mask, strict=True) if m.any()]
    always = sorted(set.intersection(*texts)) if texts else []
    free = mask & ~np.isin(ids, always)
    order = rng.permutation(np.flatnonzero(free))
    chosen = order[: round(share * len(order))]
    made = ids.copy()
    made.flat[chosen] = rng.choice(ids[free], len(chosen))
    return dataclasses.replace(rows, arrays={**rows.arrays, "text_ids": made})


def curves(
    run: Run,
    change: Change,
    levels: Sequence[float],
    *,
    metric: str,
    fields: Mapping[str, str],
) -> dict[str, list[float]]:
    """A metric on test at each level, of each modality whose field the rows have.

    Args:
      run: finished.
      change: what is done to the rows.
      levels: of the change.
      metric: the mean of it over the seeds counts.
      fields: {modality: field of the batch}, such as {"text": "text_ids"}.

    Returns:
      {modality: a value for each level}; {} where the rows have none of the fields.
    """
    name, rows, _ = corpora.labelled_split(run.corpus(), "test")
    compute = inference.Inference(run, keep=True)

    def at(modality: str, level: float) -> float:
        arrays = run.pad(change(rows, modality, level))
        made = unread.predict(
            compute, run.model, {name: placed.splits(run, [arrays])[0]}
        )
        found = run.results({name: run.labelled(rows, made.preds[name])})
        return found.splits[name][metric]["mean"]

    return {
        modality: [at(modality, level) for level in levels]
        for modality, field in fields.items()
        if modality in run.spec.modalities and field in rows.arrays
    }


def without(run: Run) -> Change:
    """`missing` of a run: text is removed as `predict` does for a clip without a transcript."""
    blank = corpora.wordless(run.options, run.folder).arrays
    return functools.partial(missing, blank=blank)


def _deviation(x: Any, mask: np.ndarray) -> np.ndarray:
    """Standard deviation of each feature over the real steps: [N, L, D], [N, L] -> [D]."""
    total = np.zeros((2, x.shape[-1]))
    for start in range(0, len(x), _ROWS):
        part = np.asarray(x[start : start + _ROWS], np.float64)
        steps = part[mask[start : start + _ROWS]]
        total += np.sum(steps, axis=0), np.sum(np.square(steps), axis=0)
    mean, square = total / max(1, np.count_nonzero(mask))
    return np.sqrt(np.maximum(square - np.square(mean), 0.0))


def _with(rows: Split, modality: str, change: Callable[[str, Any], Any]) -> Split:
    """A split with the fields of a modality changed, but for its own label."""
    owned = {modality, "commonsense"} if modality == "text" else {modality}
    mine = {k: x for k, x in rows.arrays.items() if k.split("_")[0] in owned}
    changed = {name: change(name, array) for name, array in mine.items()}
    return dataclasses.replace(rows, arrays={**rows.arrays, **changed})
