"""Labels in the shapes that files have them, as one number a row.

Sentiment or a class in one column is taken as it is, names of classes as their
numbers. CH-SIMS v2 names five classes, of which "Weakly Negative" is taken as negative
and "Weakly Positive" as positive, as their scores are; a note counts these rows. CMU_MOSEI_Labels' [N, 1, 7] is the sentiment and six emotions, one-hot [N, C]
and two-way one-hot [N, C, 2] (MulT's IEMOCAP) are classes where each row has exactly
one. Several labels of a row at once (multi-label) are refused: there is no loss for them.
"""

from typing import NamedTuple

import numpy as np

from msajax.data.errors import DataError, option
from msajax.data.spec import DATASETS, MOSEI_EMOTIONS, suggest

_EMOTIONS = [f"mosei_{name}" for name in MOSEI_EMOTIONS]
_SIX = (
    f"MOSEI's six emotions: {option('dataset', _EMOTIONS[0])} takes whether this one "
    f"is present, {', '.join(_EMOTIONS[1:])} the others"
)
_IEMOCAP4 = option("dataset", "iemocap4")
_NOT_HOT = (
    f"{_IEMOCAP4} takes them where they are one-hot, a single 1 for each row, which "
    "these are not: save the class of each row as one number"
)
# What a shape after the leading axis, without axes of one, and whether the rows are
# one-hot say about a file: its dataset, where there is one alone, and what it looks like.
_LOOKS = {
    ((7,), False): (
        "mosei",
        f"MOSEI's sentiment and six emotions: {option('dataset', 'mosei')} takes the "
        f"sentiment, {', '.join(_EMOTIONS)} whether one emotion is present",
    ),
    ((7,), True): (
        "meld",
        f"a one-hot of MELD's emotions: {option('dataset', 'meld')}",
    ),
    ((6,), False): ("", _SIX),
    ((6,), True): (
        "",
        f"{_SIX}; or, one-hot, like IEMOCAP's: {option('dataset', 'iemocap')}",
    ),
    ((4,), False): ("iemocap4", f"four emotions of IEMOCAP; {_NOT_HOT}"),
    ((4,), True): ("iemocap4", f"four emotions of IEMOCAP: {_IEMOCAP4}"),
    ((4, 2), False): (
        "iemocap4",
        f"four emotions of MulT's file of IEMOCAP; {_NOT_HOT}",
    ),
    ((4, 2), True): (
        "iemocap4",
        f"a two-way one-hot of four emotions (MulT's file of IEMOCAP): {_IEMOCAP4}",
    ),
}
_NAMED = 3  # rows that are named in an error
_WEAK = {"weakly negative": "negative", "weakly positive": "positive"}


class Labels(NamedTuple):
    """Labels [N] float64, and how they were read.

    Attributes:
      values: one number a row.
      note: '' where the file has them so.
      rows: that the note is about, 0 for all.
    """

    values: np.ndarray
    note: str = ""
    rows: int = 0


def dataset_of(values: np.ndarray) -> str:
    """The dataset that alone has labels [N, ...] of such a shape, '' where several have."""
    shape = _shape(values)
    hot = _is_one_class(values.reshape(len(values), *shape))
    return _LOOKS.get((shape, hot), ("", ""))[0]


def having(names: np.ndarray) -> list[str]:
    """The datasets that have all of these names of classes."""
    found = {name.strip().lower() for name in names.ravel().tolist()} - {""}
    return [
        key
        for key, known in DATASETS.items()
        if known.classes and found <= {*known.classes, *_WEAK}
    ]


def of_names(names: np.ndarray, dataset: str) -> str:
    """The dataset to advise for names of classes, where one without classes was asked for."""
    return _advised(having(names) or ["mosi_classes"], dataset)


def one_per_row(
    values: np.ndarray, *, name: str, dataset: str, ids: np.ndarray | None = None
) -> Labels:
    """One label a row.

    Args:
      values: [N, ...] numbers or strings, as the file has them.
      name: of the column, for errors.
      dataset: name in `DATASETS`.
      ids: [N] of the rows, for errors; None numbers them.

    Raises:
      DataError: another shape, or rows with several classes or none.
    """
    classes = DATASETS[dataset].classes
    shape = _shape(values)
    given, values = values.shape, values.reshape(len(values), *shape)
    if 0 in shape:
        raise DataError(
            f"{name} is an array {list(given)}: it has no labels; expected one number a "
            "row, [N]"
        )
    if not shape:
        named = values.dtype.kind == "U"
        return _of_names(values, dataset, name) if named else Labels(values)
    if values.dtype.kind == "U":
        raise DataError(
            f"{name} is an array {list(given)} of names, expected one a row"
        )
    column = _mosei_column(dataset)
    one_class = _is_one_class(values)
    # A sentiment that is 1 or 0, and 1 just where no emotion is present, is none.
    sentiment = shape == (7,) and not one_class
    if column is not None and (sentiment or (shape == (6,) and column)):
        return _of_emotions(values, column, name)
    if _is_hot(values) and classes and shape[0] == len(classes):
        return _of_one_hot(values, classes, name, ids)
    raise DataError(
        f"{name} is an array {list(given)}, expected one number a row, [N]; "
        + _looks(shape, dataset, one_class=one_class)
    )


def _shape(values: np.ndarray) -> tuple[int, ...]:
    return tuple(size for size in values.shape[1:] if size != 1)


def _of_names(values: np.ndarray, dataset: str, name: str) -> Labels:
    classes = DATASETS[dataset].classes
    given: list[str] = values.tolist()
    found = [text.strip().lower() for text in given]
    if not classes:
        first = "".join(given[:1])[:40]
        raise DataError(
            f"{name} holds {ascii(first)}, expected numbers; names of classes are for a "
            f"dataset that has them, as {option('dataset', of_names(values, dataset))}"
        )
    # Where a dataset has no class of this kind, the name is unknown.
    weak = _WEAK if {*_WEAK.values()} <= {*classes} else {}
    taken = [weak.get(text, text) for text in found]
    for text in dict.fromkeys(taken):
        if text not in classes:
            what = f'the unknown class "{text[:40]}"' if text else "no class"
            raise DataError(
                f"{name} has {what} in {taken.count(text)} of {len(taken)} rows"
                f"{suggest(text[:40], classes)}"
            )
    numbers = np.array([classes.index(text) for text in taken], np.float64)
    rows = sum(text in weak for text in found)
    names = " and ".join(f'"{text}"' for text in weak)
    note = f"{name} is {names}, taken as {' and '.join(weak.values())}"
    return Labels(numbers, note if rows else "", rows)


def _advised(fitting: list[str], dataset: str) -> str:
    """Of the datasets of classes that fit, that of the same files as a dataset, else the first."""
    same = f"{dataset}_classes"
    return same if same in fitting else fitting[0]


def _mosei_column(dataset: str) -> int | None:
    """Of the sentiment and six emotions the one that a dataset is about."""
    columns = {"mosei": 0}
    columns |= {f"mosei_{name}": i for i, name in enumerate(MOSEI_EMOTIONS, 1)}
    return columns.get(dataset)


def _of_emotions(values: np.ndarray, column: int, name: str) -> Labels:
    """[N, 7], or [N, 6] without the sentiment, -> one of the columns, emotions as 0 or 1."""
    width = values.shape[1]
    taken = values[:, column - (width == 6)]
    if column == 0:
        return Labels(taken, f"{name} is the sentiment, the first of 7 columns")
    if not np.isfinite(taken).all():
        raise DataError(f"{name} has emotions that are not finite")
    emotion = MOSEI_EMOTIONS[column - 1]
    note = f'{name} is the emotion "{emotion}" of {width} columns, present above 0'
    return Labels((taken > 0).astype(np.float64), note)


def _is_hot(values: np.ndarray) -> bool:
    """Whether it is [N, C] of zeros and ones, or [N, C, 2], pairs of these: mostly one and zero."""
    if values.shape[2:] not in ((), (2,)):
        return False
    # In pairs that are all alike no class is told from none.
    pairs = values.ndim == 2 or _are_pairs(values).any()
    return bool(pairs and np.isin(values, (0, 1)).all())


def _are_pairs(values: np.ndarray) -> np.ndarray:
    """Of [N, C, 2] the rows [N] whose pairs are a zero and a one each."""
    return (values.sum(axis=2) == 1).all(axis=1)


def _is_one_class(values: np.ndarray) -> bool:
    """Whether it is one-hot with exactly one class in each row."""
    numbers = values.ndim > 1 and values.dtype.kind != "U"
    if not len(values) or not numbers or not _is_hot(values):
        return False
    return bool((values.ndim == 2 or _are_pairs(values).all()) and _one(values).all())


def _one(values: np.ndarray) -> np.ndarray:
    """The rows [N] of one-hots that have exactly one class."""
    hot = values if values.ndim == 2 else values[:, :, 1]
    return hot.sum(axis=1) == 1


def _of_one_hot(
    values: np.ndarray, classes: tuple[str, ...], name: str, ids: np.ndarray | None
) -> Labels:
    named = list(map(str, range(len(values)))) if ids is None else ids.tolist()

    def refuse(good: np.ndarray, what: str, advice: str) -> None:
        wrong = [f'"{x[:40]}"' for x in np.array(named)[~good][:_NAMED]]
        count = np.count_nonzero(~good)
        if count:
            more = f" and {count - len(wrong)} more" if count > len(wrong) else ""
            raise DataError(
                f"{name} is one-hot {list(values.shape)}, but {count} of {len(values)} "
                f"rows have {what}: {', '.join(wrong)}{more}; {advice}"
            )

    if values.ndim == 3:
        pair = "a pair that is not one 0 and one 1 (absent, present)"
        refuse(_are_pairs(values), pair, "correct these rows, or leave them out")
    several = (
        "several labels of a row (multi-label) are not supported: leave these rows out "
        "of the file"
    )
    refuse(_one(values), "several classes or none", several)
    hot = values if values.ndim == 2 else values[:, :, 1]
    note = f"{name} is one-hot, taken as {', '.join(classes)}"
    return Labels(hot.argmax(axis=1).astype(np.float64), note)


def _looks(shape: tuple[int, ...], dataset: str, *, one_class: bool) -> str:
    """What labels of a shape look like, for a dataset that does not take them."""
    known, looks = _LOOKS.get((shape, one_class), ("", ""))
    if known == dataset:
        return (
            f"{DATASETS[dataset].title} takes one-hot ones too, but these are other "
            "numbers than 0 and 1: save the class of each row as one number"
        )
    if looks:
        return f"this looks like {looks}"
    same = [name for name, d in DATASETS.items() if len(d.classes) == shape[0]]
    if one_class and same:
        best = _advised(same, dataset)
        return (
            f"this looks like a one-hot of {', '.join(DATASETS[best].classes)}: "
            f"{option('dataset', best)}"
        )
    if shape[-1] == 2 and len(shape) > 1:
        return (
            "this looks like two-way one-hots of several labels, which are not supported "
            "at once"
        )
    return (
        "this looks like several labels a row, of which one can be trained on: give that "
        "one"
    )
