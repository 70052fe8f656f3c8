"""Results and predictions as files: where they may go, what their rows are."""

import dataclasses
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from msajax.data import json_file
from msajax.data.errors import DataError
from msajax.data.spec import DATASETS, suggest
from msajax.report.results import Predictions, Results
from msajax.run import workdir

# What makes a spreadsheet compute a cell, where it opens a csv file.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def check(
    path: str | pathlib.Path, what: str = "--output", example: str = "scores.csv"
) -> pathlib.Path:
    """The path of a file to write, before anything is computed.

    Args:
      path: of the file.
      what: the argument that named it.
      example: a file name of its kind.

    Raises:
      ValueError: no file can be written there.
    """
    path = pathlib.Path(path)
    if not path.parent.is_dir():
        raise ValueError(f"{what} {path}: there is no folder {path.parent}")
    if path.is_dir():
        raise ValueError(
            f"{what} {path} is a folder; name a file in it: {path / example}"
        )
    if path.exists() and not path.is_file():
        raise ValueError(
            f"{what} {path} is no ordinary file (a device or a pipe), and would be "
            "replaced by one; name a file"
        )
    return path


def write_results(folder: pathlib.Path, results: Results, *, csv: bool = True) -> None:
    """Writes results.json into a run's folder, and predictions_<split>.csv where csv is asked for."""
    workdir.write_json(folder / "results.json", results.to_dict())
    for name, made in results.predictions.items() if csv else ():
        write_predictions(folder / f"predictions_{name}.csv", made)


@dataclasses.dataclass(frozen=True)
class _Figure:
    """A metric over the seeds; JSON lacks NaN, which is null."""

    mean: float | None
    std: float | None
    values: list[float | None]

    def to_dict(self) -> dict[str, Any]:
        """As `Results.splits` has it."""
        mean, std, *values = (
            math.nan if x is None else x for x in (self.mean, self.std, *self.values)
        )
        return {"mean": mean, "std": std, "values": values}


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Saved:
    """results.json; older ones lack the keys with a default."""

    system: str
    dataset: str
    seeds: list[int]
    valid: dict[str, _Figure]
    test: dict[str, _Figure]
    seconds: list[float]
    config_sha256: str
    data_sha256: str
    epochs: list[int] = dataclasses.field(default_factory=list)
    seconds_per_epoch: list[float | None] = dataclasses.field(default_factory=list)
    phase_seconds: dict[str, list[float | None]] = dataclasses.field(
        default_factory=dict
    )
    peak_memory: int | None = 0
    parameters: dict[str, int] = dataclasses.field(default_factory=dict)
    precision: str = ""
    version: str = ""
    checkpoint: str = ""
    stopped: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    unread: dict[str, list[int]] = dataclasses.field(default_factory=dict)
    classes: list[str] = dataclasses.field(default_factory=list)
    confusion: Mapping[str, list] = dataclasses.field(default_factory=dict)


def read_results(folder: pathlib.Path) -> Results:
    """What `write_results` wrote into a run's folder, but for the predictions.

    Raises:
      DataError: there is no results.json, or it is damaged.
    """
    path, advice = folder / "results.json", "run the training command again"
    found = vars(json_file.read(path, _Saved, advice=advice, extra="ignore")).copy()
    system, dataset, seeds = (found.pop(key) for key in ("system", "dataset", "seeds"))
    if dataset not in DATASETS:
        known = suggest(dataset, DATASETS)
        raise DataError(f'{path}: unknown dataset "{dataset[:40]}"{known}; {advice}')
    splits = {
        name: {metric: figure.to_dict() for metric, figure in found.pop(name).items()}
        for name in ("valid", "test")
    }
    classes, confusion = tuple(found.pop("classes")), found.pop("confusion")
    return Results(system, dataset, tuple(seeds), splits, found, classes, confusion)


def write_predictions(path: pathlib.Path, made: Predictions) -> None:
    """Writes id, label and prediction of every row and seed."""
    labels, classes = made.labels, made.classes
    assert labels is not None
    true = [classes[i] for i in labels] if classes else [f"{x:.9g}" for x in labels]
    rows = (
        (*row, seed)
        for seed, pred in made.seeds.items()
        for row in zip(made.ids, true, _shown(pred, classes), strict=True)
    )
    workdir.write_csv(path, ["id", "label", "prediction", "seed"], rows)


def write_scores(path: pathlib.Path, made: Predictions) -> None:
    """Writes id, score (mean over the seeds) or class, and the further figures of every row."""
    figures = ([f"{x:.9g}" for x in column] for column in made.figures.values())
    rows = zip(made.ids, _shown(made.mean, made.classes), *figures, strict=True)
    workdir.write_csv(path, ["id", "score", *made.figures], rows)


def _shown(pred: np.ndarray, classes: tuple[str, ...]) -> list[str]:
    """Of each row the sentiment, or the name of the most probable class."""
    if not classes:
        return [f"{value:.9g}" for value in pred]
    return [classes[i] for i in pred.argmax(axis=-1)]


def formulas(ids: Sequence[str]) -> str:
    """A note on ids that a spreadsheet takes for formulas; '' where there are none.

    They are written as they are, so that they can be found again: many clips of
    YouTube have ids that begin with a minus.
    """
    found = [str(name) for name in ids if str(name).startswith(_FORMULA)]
    if not found:
        return ""
    return (
        f"{len(found)} of {len(ids)} ids begin like a formula ({ascii(found[0][:40])}): "
        "they are in the csv as they are; in a spreadsheet, import that column as text"
    )
