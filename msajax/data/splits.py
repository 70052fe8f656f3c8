"""Which rows of a corpus train, validate and test, where a recipe does not take its splits as they are."""

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from msajax.data import loader, stored, videos
from msajax.data.errors import DataError
from msajax.data.spec import Corpus, Split

NAMES = ("train", "valid", "test")


def check_shares(shares: Sequence[float], fraction: float) -> None:
    """Refuses shares of the splits, () for the file's own, or a fraction, that are none.

    Raises:
      DataError: says what to give.
    """
    fits = len(shares) == 3 and min(shares) > 0 and math.isclose(sum(shares), 1)
    if shares and not fits:
        raise DataError(
            f"config.data.split is {tuple(shares)}; give the shares of train, valid and "
            "test, which add up to 1, as 0.7,0.15,0.15, or () for the file's own splits"
        )
    if not 0 < fraction <= 1:
        raise DataError(
            f"config.data.fraction is {fraction}; give a share of the training rows, "
            "above 0 and at most 1"
        )


def divide(corpus: Corpus, shares: Sequence[float], *, seed: int) -> Corpus:
    """All rows with labels of a corpus, divided anew into train, valid and test.

    Clips of one video, which their ids name, or of one dialogue stay together: they share
    speaker, room and topic. Videos are taken in the order of a hash of seed and name, so the
    order of the file does not count; each goes to the first split that has room for it.

    Args:
      corpus: cleaned.
      shares: of train, valid and test, three that add up to 1.
      seed: another one is another division.

    Raises:
      DataError: shares that are none, or too few rows for them.
    """
    check_shares(shares, 1.0)
    old = videos.apart([_labelled(split) for split in corpus.splits.values()])
    ids = np.concatenate([split.ids for split in old])
    sizes = [int(share * len(ids)) for share in shares]
    rest = len(ids) - sum(sizes)
    # To the splits that lost most by rounding down, as 16417, 3518, 3518 of 23453.
    lost = np.array(sizes) - np.array(shares) * len(ids)
    for i in np.argsort(lost, kind="stable")[:rest]:
        sizes[i] += 1
    names = [name for split in old for name in videos.names(split)]
    place = _places(names, sizes, seed)
    texts = np.concatenate([split.raw_text for split in old])
    keys = dict.fromkeys(key for split in old for key in split.arrays)
    for key in keys:
        if lacks := [name for name, s in corpus.splits.items() if key not in s.arrays]:
            raise DataError(f"{key} is missing in the split {lacks[0]}; leave it out")
    splits = {}
    for i, name in enumerate(NAMES):
        rows = np.flatnonzero(place == i)
        if not len(rows):
            raise DataError(
                f"config.data.split={tuple(shares)} leaves no row for {name} of "
                f"{len(ids)}; give a file with more videos, or other shares"
            )
        arrays = {key: take([s.arrays[key] for s in old], rows) for key in keys}
        splits[name] = Split(ids[rows], texts[rows], arrays)
    counts = " / ".join(str(len(split)) for split in splits.values())
    count = len({*names})
    kind = "dialogues" if "dialogue" in keys else "videos"
    whole = f", whole {kind} of {count}" if count < len(ids) else ""
    note = f"all {len(ids)} rows divided anew: {counts}{whole} (config.data.split)"
    if without := sum(map(len, corpus.splits.values())) - len(ids):
        note = f"left out: {without} rows without labels; {note}"
    notes = (*corpus.notes, note)
    return Corpus(corpus.dataset, splits, notes, corpus.sha256, media=corpus.media)


def _labelled(split: Split) -> Split:
    """The rows of a split that have labels: another one could neither validate nor test."""
    known = split.arrays.get("labelled")
    if known is None or known.all():
        return split
    arrays = {key: take([x], known) for key, x in split.arrays.items()}
    return Split(split.ids[known], split.raw_text[known], arrays)


def first(corpus: Corpus, fraction: float) -> Corpus:
    """A corpus with the first rows of its training split alone, all of the others.

    Raises:
      DataError: a fraction that is none.
    """
    check_shares((), fraction)
    if fraction == 1 or "train" not in corpus.splits:
        return corpus
    train = corpus.splits["train"]
    count = max(1, round(fraction * len(train)))
    arrays = {key: take([x], slice(count)) for key, x in train.arrays.items()}
    kept = Split(train.ids[:count], train.raw_text[:count], arrays)
    note = (
        f"trains on the first {count} of {len(train)} training rows "
        f"(config.data.fraction={fraction:g})"
    )
    splits, notes = {**corpus.splits, "train": kept}, (*corpus.notes, note)
    return Corpus(corpus.dataset, splits, notes, corpus.sha256, media=corpus.media)


def _places(names: Sequence[str], sizes: Sequence[int], seed: int) -> np.ndarray:
    """Number of the split that each row goes to, by its video or dialogue: [N]."""
    members: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        members.setdefault(name, []).append(i)

    def order(video: str) -> bytes:
        return hashlib.sha256(f"{seed}:{video}".encode("utf-8", "replace")).digest()

    room, place = list(sizes), np.empty(len(names), int)
    for video in sorted(members, key=order):
        rows = members[video]
        fits = [i for i, n in enumerate(room) if n >= len(rows)]
        chosen = fits[0] if fits else int(np.argmax(room))
        place[rows] = chosen
        room[chosen] -= len(rows)
    return place


def take(parts: Sequence[Any], rows: np.ndarray | slice = slice(None)) -> Any:
    """Rows of arrays [N, ...] that follow each other, padded to the longest of them.

    Sequences of a store stay there: where one part is of a store, so is the result.
    """
    if len(parts[0].shape) > 1:
        steps = max(part.shape[1] for part in parts)
        parts = [loader.resize(part, steps) for part in parts]
    if any(isinstance(part, stored.StoredSequences) for part in parts):
        return stored.choose(parts, np.arange(sum(map(len, parts)))[rows])
    return np.concatenate(parts)[rows]
