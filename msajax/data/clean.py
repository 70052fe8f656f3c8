"""What holds for every corpus, whatever file it came from, is made and checked here.

Features are finite float32, padded with zeros at the end, with masks; a row
without any non-zero step is a missing modality, its mask all False. Labels are
in the dataset's range and ids are unique.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from msajax.data import stored
from msajax.data.errors import DataError
from msajax.data.formats import columns, labels, mapped
from msajax.data.spec import DATASETS, MODALITIES, Corpus, Split, suggest

Log = dict[str, list[str]]  # what was done -> to which arrays

# Bytes of features that are cleaned at once, as they are in the file.
_PIECE = 2**23
# Values of features that are as large overflow where a system squares or sums them.
_HUGE = 1e9
_WITHOUT_LABEL = (
    "mark rows without a label by labelled=0 (of an .npz), or put them in the split "
    f'"{columns.UNLABELLED}"'
)


def clean(corpus: Corpus, *, lazily: bool = False) -> Corpus:
    """A reader's corpus, checked, with masks in place of lengths.

    Args:
      corpus: features [N, L, D] of any number type, `<modality>_length` [N] where
        the file knows it, labels [N] of any number type.
      lazily: sequences are cleaned each time that rows of them are taken, and are not
        in memory: they are `stored.StoredSequences`.

    Returns:
      A new corpus with a note on each thing that was changed.

    Raises:
      DataError: rows that cannot be used; says which and what to do.
    """
    if not corpus.splits:
        raise DataError("the file has no rows")
    _check_rows(corpus)
    log: Log = {}
    splits = {}
    order = (*columns.SPLITS, "all", columns.UNLABELLED)
    for name in [name for name in order if name in corpus.splits]:
        split = corpus.splits[name]
        arrays = _arrays(name, split, corpus.dataset, log, lazily=lazily)
        splits[name] = Split(split.ids, split.raw_text, arrays)
    _fill_labels(splits)
    _check_splits(splits)
    notes = [f"{what}: {', '.join(where)}" for what, where in log.items()]
    notes = (*corpus.notes, *notes)
    return Corpus(corpus.dataset, splits, notes, corpus.sha256, media=corpus.media)


def select(
    corpus: Corpus, modalities: Collection[str], *, labels: bool = True
) -> Corpus:
    """The corpus without the modalities, or without the labels, that are not wanted.

    Raises:
      DataError: an unknown modality, or none.
    """
    for name in modalities:
        if name not in MODALITIES:
            raise DataError(f'unknown modality "{name}"{suggest(name, MODALITIES)}')
    if not modalities:
        raise DataError(f"no modality is chosen; choose from {', '.join(MODALITIES)}")
    dropped = (*(set(MODALITIES) - set(modalities)), *(() if labels else ("label",)))
    if "text" in dropped:
        dropped = (*dropped, "commonsense")  # which was made of the text
    splits = {}
    for name, split in corpus.splits.items():
        raw_text = split.raw_text if "text" in modalities else np.full(len(split), "")
        arrays = {k: v for k, v in split.arrays.items() if not k.startswith(dropped)}
        splits[name] = Split(split.ids, raw_text, arrays)
    return Corpus(
        corpus.dataset, splits, corpus.notes, corpus.sha256, media=corpus.media
    )


def _check_rows(corpus: Corpus) -> None:
    seen: dict[str, str] = {}
    for name, split in corpus.splits.items():
        if not len(split):
            raise DataError(f'the split "{name}" is empty')
        for key, array in {**split.arrays, "raw_text": split.raw_text}.items():
            if len(array) != len(split):
                raise DataError(
                    f'{key} of the split "{name}" has {len(array)} rows, but there are '
                    f"{len(split)} ids"
                )
        for i in split.ids.tolist():
            if i in seen:
                raise DataError(
                    f'the id "{i[:80]}" of the split "{name}" is already in "{seen[i]}"; '
                    "ids must be unique, within and across splits"
                )
            seen[i] = name


def _arrays(
    name: str, split: Split, dataset: str, log: Log, *, lazily: bool
) -> dict[str, Any]:
    arrays: dict[str, Any] = {
        k: v for k, v in split.arrays.items() if not k.endswith("_length")
    }
    for key in MODALITIES:
        where = f"{name} {key}"
        length = _lengths(where, split.arrays.get(f"{key}_length"))
        if key in arrays:
            # Popped, so that one array at a time is held in both types.
            x, mask = _sequences(split.arrays.pop(key), length, where, log)
            arrays[key], arrays[f"{key}_mask"] = x if lazily else x[:], mask
            del x  # which holds the values in the file's type
    if "commonsense" in arrays:
        _used(arrays["commonsense"], f"{name} commonsense", log)
        arrays["commonsense"] = _finite(arrays["commonsense"])[0]
    if "text_ids" in arrays:
        steps = arrays["text_ids"].shape[1]
        length = split.arrays["text_length"]
        if "text" in arrays and arrays["text"].shape[1] != steps:
            raise DataError(
                f"{name} text has {arrays['text'].shape[1]} steps, but {steps} word "
                "pieces: both must have the same length"
            )
        arrays["text_mask"] = mask = np.arange(steps) < length[:, None]
        for key in ("text_ids", "text_type"):
            arrays[key] = np.where(mask, arrays[key], 0)
    for key in [k for k in arrays if k == "label" or k.startswith("label_")]:
        if name == columns.UNLABELLED:
            del arrays[key]
        else:
            arrays[key] = _labels(name, key, arrays, split.ids, dataset, log)
    return arrays


def _fill_labels(splits: dict[str, Split]) -> None:
    """Zeros in place of the labels that rows lack, so that all splits have the same arrays."""
    first = next(iter(splits.values())).arrays
    if columns.UNLABELLED in splits:
        rows = splits[columns.UNLABELLED]
        for key in [key for key in first if key.startswith("label")]:
            rows.arrays[key] = np.zeros(len(rows), first[key].dtype)


def _finite(values: np.ndarray) -> tuple[np.ndarray, int]:
    """Numbers as float32, with zeros for those that are not finite, and how many these were."""
    with np.errstate(all="ignore"):  # beyond float32 lies inf, which is counted
        x = np.array(values, np.float32, order="C")
    bad = ~np.isfinite(x)
    count = int(np.count_nonzero(bad))
    if count:
        x[bad] = 0
    return x, count


def _rows_of_a_piece(array: np.ndarray) -> int:
    return max(1, _PIECE * len(array) // max(array.nbytes, 1))


def _pieces(array: np.ndarray) -> Iterator[slice]:
    """All rows of an array, some megabytes at a time."""
    step = _rows_of_a_piece(array)
    for start in range(0, len(array), step):
        yield slice(start, start + step)
        mapped.release(array)


def _used(values: np.ndarray, where: str, log: Log) -> np.ndarray:
    """Where steps are more than zeros: [N, L, D] -> [N, L] bool; notes odd values."""
    used = np.empty(values.shape[:2], bool)
    infinite, huge, largest = 0, 0, 0.0
    for piece in _pieces(values):
        x, count = _finite(values[piece])
        used[piece] = np.any(x, axis=2)
        infinite += count
        if x.size and (high := max(x.max(), -x.min())) > _HUGE:
            huge += np.count_nonzero(np.abs(x) > _HUGE)
            largest = max(largest, high)
    if infinite:
        _note(log, "non-finite values set to 0", f"{infinite} in {where}")
    if huge:
        what = f"values above {_HUGE:g}, which may overflow, are kept as they are"
        _note(log, what, f"{huge} in {where} (the largest: {largest:.3g})")
    return used


def _lengths(where: str, values: np.ndarray | None) -> np.ndarray | None:
    if values is None:
        return None
    if not columns.are_whole(values).all():
        raise DataError(f"{where}_length holds something else than whole numbers >= 0")
    return values.astype(np.int64)


class _Cleaned:
    """Features [N, L, D] of a file, cleaned when rows of them are read.

    Args:
      values: as in the file.
      shift: [N] steps of padding at the front; None where there is none.
      mask: [N, L] bool.
    """

    def __init__(self, values: np.ndarray, shift: np.ndarray | None, mask: np.ndarray):
        self._values, self._shift, self._mask = values, shift, mask

    def read(
        self, index: Sequence[int], field: str, seen: stored.Seen
    ) -> Iterator[np.ndarray]:
        del field, seen
        rows = np.asarray(index, int)
        step = _rows_of_a_piece(self._values)
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            x, _ = _finite(self._values[part])
            if self._shift is not None:
                x = _shifted(x, self._shift[part])
            x[~self._mask[part]] = 0
            yield from x
            mapped.release(self._values)


def _shifted(x: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """[N, L, ...] with the first `shift` [N] steps of each row behind the others."""
    index = (np.arange(x.shape[1]) + shift[:, None]) % x.shape[1]
    index = index.reshape(*index.shape, *(1,) * (x.ndim - 2))
    return np.take_along_axis(x, index, axis=1)


def _sequences(
    values: np.ndarray, length: np.ndarray | None, where: str, log: Log
) -> tuple[stored.StoredSequences, np.ndarray]:
    """Zeros at the end and the mask: [N, L, D], length [N] -> sequences, mask [N, L] bool."""
    used = _used(values, where, log)
    steps = used.shape[1]
    present = np.any(used, axis=1)
    if not present.any():
        rows = f"{where} ({len(used)} rows)"
        _note(log, "zeros only, so that every row lacks it", rows)
    first = used.argmax(axis=1)
    last = np.where(present, steps - used[:, ::-1].argmax(axis=1), 0)
    if (shift := _front(first, last, steps, length, present)) is not None:
        used = _shifted(used, shift)
        last = steps - shift
        _note(log, "padding moved from the front to the end", where)
    length = np.asarray(last if length is None else length)
    if count := np.count_nonzero(present & ((length < 1) | (length > steps))):
        _note(log, f"lengths set into 1 to {steps}", f"{count} in {where}")
    length = np.clip(length, 1, steps)
    length = np.where(present, length, 0)
    mask = np.arange(steps) < length[:, None]
    if count := np.count_nonzero(used & ~mask):
        _note(log, "steps beyond the file's lengths set to 0", f"{count} in {where}")
    rows = _Cleaned(values, shift, mask)
    return stored.StoredSequences(rows, where, values.shape, np.float32), mask


def _front(
    first: np.ndarray,
    last: np.ndarray,
    steps: int,
    length: np.ndarray | None,
    present: np.ndarray,
) -> np.ndarray | None:
    """Zero steps before the data [N] where a split is padded at the front, else None."""
    if length is not None:
        shift = np.where(present, steps - np.clip(length, 1, steps), 0)
        fits_end, fits_front = last <= length, first >= shift
        return shift if not fits_end.all() and fits_front[present].all() else None
    # Single zero steps at either end are common (no face in the picture).
    begins, ends = (present & (first > 0)).sum(), (present & (last < steps)).sum()
    return np.where(present, first, 0) if begins and 10 * ends <= begins else None


def _labels(
    split: str,
    key: str,
    arrays: dict[str, np.ndarray],
    ids: np.ndarray,
    dataset: str,
    log: Log,
) -> np.ndarray:
    """[N, ...] as in the file -> [N] float32 or, of classes, int32; 0 where `labelled` is False."""
    known = DATASETS[dataset]
    labelled = arrays.get("labelled", np.ones(len(ids), bool))
    name = f'{key} of the split "{split}"'
    values, note, rows = labels.one_per_row(
        arrays[key][labelled], name=name, dataset=dataset, ids=ids[labelled]
    )
    if note:
        where = f"{rows} rows of {split}" if rows else split
        _note(log, note.replace(name, f"the {key}"), where)
    if known.classes and key == "label":
        dtype = np.int32
        fits = columns.are_whole(values) & (values < len(known.classes))
        expected = f"classes from 0 to {len(known.classes) - 1}"
    else:
        low, high = known.label_range or (-np.inf, np.inf)
        dtype = np.float32
        fits = np.isfinite(values) & (values >= low - 1e-6) & (values <= high + 1e-6)
        expected = f"labels from {low:g} to {high:g}"
    if not fits.all():
        row = int(np.argmin(fits))
        lacks = "" if np.isfinite(values[row]) else f"; {_WITHOUT_LABEL}"
        raise DataError(
            f'{key} of "{ids[labelled][row][:80]}" is {values[row]:g}, but {known.title} '
            f"has {expected}; {np.count_nonzero(~fits)} of {len(fits)} rows do not fit"
            + lacks
        )
    found = np.zeros(len(ids), dtype)
    found[labelled] = values
    return found


def _check_splits(splits: Mapping[str, Split]) -> None:
    for key in sorted({key for split in splits.values() for key in split.arrays}):
        has = [name for name, split in splits.items() if key in split.arrays]
        if len(has) < len(splits):
            lacks = ", ".join(name for name in splits if name not in has)
            raise DataError(
                f"{key} is in the split {', '.join(has)}, but not in {lacks}; leave it "
                "out of the file, or choose other modalities (config.data.modalities)"
            )
        widths = {name: split.arrays[key].shape[2:] for name, split in splits.items()}
        if len(set(widths.values())) > 1:
            shown = ", ".join(f"{name} {width[0]}" for name, width in widths.items())
            raise DataError(f"{key} has other widths in other splits: {shown}")
    for name, split in splits.items():
        has_features = any(key in split.arrays for key in (*MODALITIES, "text_ids"))
        if not has_features and not any(split.raw_text):
            raise DataError(f'the split "{name}" has no text, audio or vision')


def _note(log: Log, what: str, where: str) -> None:
    log.setdefault(what, []).append(where)
