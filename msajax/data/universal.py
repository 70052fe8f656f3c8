"""Universal labels: one text for the labels of several data sets, whose rows train together.

A label is a text of fields: "positive , 2.4 , joy , excited" holds the polarity, the
intensity, and a class of each data set of emotions that takes part. What a row's own data
set does not say is that of the most similar text of the same polarity in the training split
of one that does. Hu et al., "UniMSE", EMNLP 2022, have these fields; they compare texts by
SimCSE, we by their words (TF-IDF), which needs no other network.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from msajax.data.errors import DataError
from msajax.data.spec import DATASETS

SEPARATOR = ","
POLARITY, INTENSITY = "polarity", "intensity"
POLARITIES = ("negative", "neutral", "positive")
# Of the classes that have one; surprise is of either, and takes that of a similar text.
_POLARITY_OF = {
    **dict.fromkeys(POLARITIES[:1], "negative"),
    **dict.fromkeys(("sadness", "sad", "fear", "disgust"), "negative"),
    **dict.fromkeys(("anger", "angry", "frustrated", "upset"), "negative"),
    **dict.fromkeys(("neutral", "calm"), "neutral"),
    **dict.fromkeys(("positive", "joy", "happy", "excited", "glad"), "positive"),
}
_WORD = re.compile(r"\w+")

# {field: the values of N rows, '' where none is known}
Fields = dict[str, np.ndarray]


class Rows(NamedTuple):
    """Rows of a data set: what their labels say, and their texts [N]."""

    fields: Fields
    texts: np.ndarray


def fields(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The fields of the labels of some data sets, in order, with the values of each.

    Raises:
      DataError: scores of several ranges.
    """
    names = {*names}
    ranges = {DATASETS[name].label_range for name in names} - {None}
    if len(ranges) > 1:
        raise DataError(
            f"the scores of {', '.join(sorted(names))} have several ranges: "
            f"{', '.join(map(str, sorted(filter(None, ranges))))}; universal labels need "
            "one: leave the other data sets out of config.data.also"
        )
    found: dict[str, tuple[str, ...]] = {POLARITY: POLARITIES}
    for low, high in filter(None, ranges):
        tenths = range(round(10 * low), round(10 * high) + 1)
        found[INTENSITY] = tuple(written(tenth / 10) for tenth in tenths)
    own = (name for name in DATASETS if name in names and place(name) == name)
    return found | {name: DATASETS[name].classes for name in own}


def place(dataset: str) -> str:
    """The field that is the label of a data set."""
    classes = DATASETS[dataset].classes
    if not classes:
        return INTENSITY
    return POLARITY if classes == POLARITIES else dataset


def value(dataset: str, text: str) -> float:
    """The label that a value of its field is: a score, or the number of a class."""
    classes = DATASETS[dataset].classes
    return float(classes.index(text) if classes else text)


def fallback(dataset: str) -> float:
    """The label in the place of one that cannot be read: 0, or the class 'neutral', else the first."""
    classes = DATASETS[dataset].classes
    return float(classes.index("neutral")) if "neutral" in classes else 0.0


def written(score: float) -> str:
    """A score as text, to a tenth: '-1.8'."""
    return f"{round(score, 1) + 0.0:.1f}"  # + 0: no '-0.0'


def known(dataset: str, labels: np.ndarray, texts: np.ndarray) -> Rows:
    """What the labels [N] of a data set say of the fields."""
    low, high = DATASETS[dataset].label_range or (0.0, 0.0)
    classes = DATASETS[dataset].classes
    if classes:
        names = [classes[int(label)] for label in labels]
        polarity = [_POLARITY_OF.get(name, "") for name in names]
    else:
        names = [written(x) for x in np.clip(labels.astype(float), low, high).tolist()]
        polarity = [POLARITIES[1 + int(np.sign(float(name)))] for name in names]
    found = {place(dataset): np.array(names, str), POLARITY: np.array(polarity, str)}
    return Rows(found, texts)


def complete(
    rows: Rows, others: Sequence[Rows], wanted: Sequence[str]
) -> tuple[Fields, int]:
    """The rows with a value in every field.

    Args:
      rows: to complete.
      others: training rows of the other data sets.
      wanted: the fields, the polarity first.

    Returns:
      The fields, and how many values are those of a similar text.
    """
    made, taken = dict(rows.fields), 0
    for field in wanted:
        found = made.setdefault(field, np.full(len(rows.texts), "", "U1"))
        lacking = np.flatnonzero(found == "")
        if not len(lacking):
            continue
        donors = _with(others, field)
        if not len(donors.texts):  # of the polarity alone: no other data set has one
            made[field] = np.where(found == "", POLARITIES[1], found)
            continue
        near = _nearest(
            Rows({POLARITY: made[POLARITY][lacking]}, rows.texts[lacking]), donors
        )
        values = donors.fields[field][near]
        made[field] = found.astype(f"U{max(20, values.dtype.itemsize // 4)}")
        made[field][lacking] = values
        taken += len(lacking)
    return {field: made[field] for field in wanted}, taken


def _with(others: Sequence[Rows], field: str) -> Rows:
    """The rows of others that have the field, with that and the polarity."""
    chosen = []
    for other in others:
        if field in other.fields:
            has = other.fields[field] != ""
            kept = {k: other.fields[k][has] for k in {field, POLARITY}}
            chosen.append(Rows(kept, other.texts[has]))
    if not chosen:
        return Rows({}, np.array([], str))
    kept = {
        k: np.concatenate([rows.fields[k] for rows in chosen]) for k in chosen[0].fields
    }
    return Rows(kept, np.concatenate([rows.texts for rows in chosen]))


def _nearest(rows: Rows, among: Rows) -> np.ndarray:
    """The most similar of the texts of the same polarity, for each row: [N], the first of equal ones.

    Where a row has no polarity, or none of the texts has it, they are all texts.
    """
    index, theirs = _Index(among.texts.tolist()), among.fields[POLARITY]
    alike: Mapping[str, np.ndarray] = {p: theirs == p for p in POLARITIES}
    found = np.zeros(len(rows.texts), int)
    for i, (text, own) in enumerate(
        zip(rows.texts.tolist(), rows.fields[POLARITY].tolist(), strict=True)
    ):
        scores = index.scores(text)
        if own and alike[own].any():
            scores = np.where(alike[own], scores, -1)
        found[i] = scores.argmax()
    return found


class _Index:
    """Texts by their words, for the cosines of TF-IDF vectors."""

    def __init__(self, texts: Sequence[str]):
        self._count = len(texts)
        rows: dict[str, list[int]] = {}
        for i, text in enumerate(texts):
            for word in _words(text):
                rows.setdefault(word, []).append(i)
        self._weight = {
            word: 1 + math.log(self._count / len(places))
            for word, places in rows.items()
        }
        self._rows = {word: np.array(places) for word, places in rows.items()}
        square = np.zeros(self._count)
        for word, places in self._rows.items():
            square[places] += self._weight[word] ** 2
        self._length = np.sqrt(np.maximum(square, 1e-12))

    def scores(self, text: str) -> np.ndarray:
        """The cosine with each text, but for the length of the given one: [M]."""
        total = np.zeros(self._count)
        for word in _words(text):
            if word in self._rows:
                total[self._rows[word]] += self._weight[word] ** 2
        return total / self._length


def _words(text: str) -> list[str]:
    """The words of a text, each once."""
    return [*dict.fromkeys(_WORD.findall(text.casefold()))]
