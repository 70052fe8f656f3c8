"""Predictions as csv files: where they may go, what their rows are."""

import pathlib
from collections.abc import Iterable, Mapping

import numpy as np

from msajax import workdir
from msajax.data.spec import Split

# What makes a spreadsheet compute a cell, where it opens a csv file.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def check(path: str | pathlib.Path) -> pathlib.Path:
    """The path of --output, before anything is computed.

    Raises:
      ValueError: no file can be written there.
    """
    path = pathlib.Path(path)
    if not path.parent.is_dir():
        raise ValueError(f"--output {path}: there is no folder {path.parent}")
    if path.is_dir():
        raise ValueError(
            f"--output {path} is a folder; name a file in it: {path / 'scores.csv'}"
        )
    if path.exists() and not path.is_file():
        raise ValueError(
            f"--output {path} is no ordinary file (a device or a pipe), and would be "
            "replaced by one; name a file"
        )
    return path


def shown(pred: np.ndarray, classes: tuple[str, ...]) -> list[str]:
    """Of each row the sentiment, or the name of the most probable class.

    Args:
      pred: [N], or [N, C] of a classification.
      classes: C names; () of a regression.
    """
    if not classes:
        return [f"{value:.9g}" for value in pred]
    return [classes[i] for i in pred.argmax(axis=-1)]


def write_predictions(
    path: pathlib.Path,
    split: Split,
    preds: Mapping[int, np.ndarray],
    classes: tuple[str, ...],
) -> None:
    """Writes id, label and prediction of every row and seed.

    Args:
      path: of the file.
      split: with ids and labels.
      preds: {seed: [N] or [N, C]}.
      classes: as in `shown`.
    """
    labels = split.arrays["label"]
    true = [classes[i] for i in labels] if classes else [f"{x:.9g}" for x in labels]
    rows = (
        (*row, seed)
        for seed, pred in preds.items()
        for row in zip(split.ids, true, shown(pred, classes), strict=True)
    )
    workdir.write_csv(path, ["id", "label", "prediction", "seed"], rows)


def formulas(splits: Iterable[Split]) -> str:
    """A note on ids that a spreadsheet takes for formulas; '' where there are none.

    They are written as they are, so that they can be found again: many clips of
    YouTube have ids that begin with a minus.
    """
    ids = [str(name) for split in splits for name in split.ids]
    found = [name for name in ids if name.startswith(_FORMULA)]
    if not found:
        return ""
    return (
        f"{len(found)} of {len(ids)} ids begin like a formula ({ascii(found[0][:40])}): "
        "they are in the csv as they are; in a spreadsheet, import that column as text"
    )
