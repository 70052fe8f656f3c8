"""Labels in the shapes that files have them, as one number a row.

Sentiment or a class in one column is taken as it is, names of classes as their
numbers. CMU_MOSEI_Labels' [N, 1, 7] is the sentiment and six emotions, one-hot [N, C]
and two-way one-hot [N, C, 2] (MulT's IEMOCAP) are classes where each row has exactly
one. Several labels of a row at once (multi-label) are refused: there is no loss for them.
"""

import numpy as np

from msajax.data.errors import DataError
from msajax.data.spec import DATASETS, MOSEI_EMOTIONS, suggest

# What a shape after the leading axis, without axes of one, says about a file.
_MOSEI = ", ".join(f"mosei_{name}" for name in MOSEI_EMOTIONS)
_LOOKS = {
    (7,): "MOSEI's sentiment and six emotions: config.data.dataset=mosei takes the "
    f"sentiment, {_MOSEI} whether one emotion is present",
    (
        6,
    ): f"MOSEI's six emotions: config.data.dataset={_MOSEI} takes whether one of them "
    "is present",
    (4,): "four emotions of IEMOCAP: config.data.dataset=iemocap4",
    (4, 2): "a two-way one-hot of four emotions (MulT's file of IEMOCAP): "
    "config.data.dataset=iemocap4",
}


def one_per_row(
    values: np.ndarray, *, name: str, dataset: str
) -> tuple[np.ndarray, str]:
    """One label a row, and a note on how it was read.

    Args:
      values: [N, ...] numbers or strings, as the file has them.
      name: of the column, for errors.
      dataset: name in `DATASETS`.

    Returns:
      [N] float64, and '' where the file has one number a row.

    Raises:
      DataError: another shape, or rows with several classes or none.
    """
    classes = DATASETS[dataset].classes
    given = values.shape
    shape = tuple(size for size in given[1:] if size != 1)
    values = values.reshape(len(values), *shape)
    if values.dtype.kind == "U":
        if shape:
            raise _refused(name, given)
        return _of_names(values, classes, name), ""
    if not shape:
        return values, ""
    column = _mosei_column(dataset)
    if column is not None and (shape == (7,) or (shape == (6,) and column)):
        return _of_emotions(values, column, name)
    if (
        classes
        and shape in ((len(classes),), (len(classes), 2))
        and _is_one_hot(values)
    ):
        return _of_one_hot(values, classes, name)
    raise _refused(name, given)


def _of_names(values: np.ndarray, classes: tuple[str, ...], name: str) -> np.ndarray:
    if not classes:
        raise DataError(
            f"{name} holds {ascii(str(values[0])[:40])}, expected numbers; names of "
            "classes are for a dataset that has classes, as config.data.dataset=mosi_classes"
        )
    found = [text.strip().lower() for text in values.tolist()]
    for text in dict.fromkeys(found):
        if text not in classes:
            known = suggest(text[:40], classes)
            raise DataError(f'{name} has an unknown class "{text[:40]}"{known}')
    numbers = {text: i for i, text in enumerate(classes)}
    return np.array([numbers[text] for text in found], np.float64)


def _mosei_column(dataset: str) -> int | None:
    """Of the sentiment and six emotions the one that a dataset is about."""
    columns = {"mosei": 0}
    columns |= {f"mosei_{name}": i for i, name in enumerate(MOSEI_EMOTIONS, 1)}
    return columns.get(dataset)


def _of_emotions(values: np.ndarray, column: int, name: str) -> tuple[np.ndarray, str]:
    """[N, 7], or [N, 6] without the sentiment, -> one of the columns, emotions as 0 or 1."""
    width = values.shape[1]
    taken = values[:, column - (width == 6)]
    if column == 0:
        return taken, f"{name} is the sentiment, the first of 7 columns"
    if not np.isfinite(taken).all():
        raise DataError(f"{name} has emotions that are not finite")
    emotion = MOSEI_EMOTIONS[column - 1]
    return (taken > 0).astype(np.float64), (
        f'{name} is the emotion "{emotion}" of {width} columns, present above 0'
    )


def _is_one_hot(values: np.ndarray) -> bool:
    """Whether [N, C] is zeros and ones, or [N, C, 2] pairs of one zero and one one."""
    pairs = values.ndim == 2 or (values.sum(axis=2) == 1).all()
    return bool(pairs and np.isin(values, (0, 1)).all())


def _of_one_hot(
    values: np.ndarray, classes: tuple[str, ...], name: str
) -> tuple[np.ndarray, str]:
    hot = values if values.ndim == 2 else values[:, :, 1]
    wrong = np.count_nonzero(hot.sum(axis=1) != 1)
    if wrong:
        raise DataError(
            f"{name} is one-hot {list(values.shape)}, but {wrong} of {len(values)} rows "
            "have several classes or none; several labels of a row (multi-label) are not "
            "supported: leave these rows out of the file"
        )
    order = ", ".join(classes)
    return hot.argmax(axis=1).astype(np.float64), f"{name} is one-hot, taken as {order}"


def _refused(name: str, given: tuple[int, ...]) -> DataError:
    shape = tuple(size for size in given[1:] if size != 1)
    looks = _LOOKS.get(shape, "")
    if not looks and shape[-1:] == (2,):
        looks = "two-way one-hots of several labels, which are not supported at once"
    if not looks:
        looks = "several labels a row, of which one can be trained on: give that one"
    return DataError(
        f"{name} is an array {list(given)}, expected one number a row, [N]; this looks "
        f"like {looks}"
    )
