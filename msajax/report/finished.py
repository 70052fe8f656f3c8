"""What a finished run left in its workdir: options, metrics, history and predictions."""

import csv
import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from rich.console import Console

from msajax.data.errors import DataError
from msajax.data.spec import Spec
from msajax.report.results import Predictions, Results
from msajax.run import opened, output, workdir
from msajax.run.options import Options
from msajax.run.run import Run

_AGAIN = "run the training command again"


@dataclasses.dataclass(frozen=True)
class Finished:
    """A finished run.

    Attributes:
      folder: its workdir.
      options: its recipe.
      spec: of the data that it was trained on.
      results: its metrics, with the predictions for valid and test.
      history: {seed: a dict for each epoch, as in log.jsonl}.
    """

    folder: pathlib.Path
    options: Options
    spec: Spec
    results: Results
    history: Mapping[int, Sequence[Mapping]]

    @property
    def name(self) -> str:
        """Of the folder."""
        return self.folder.resolve().name

    def open(self) -> Run:
        """The run itself, which says nothing."""
        return opened.open_run(self.folder, console=Console(quiet=True))

    @property
    def test(self) -> Predictions:
        """The predictions for test, with labels."""
        return self.results.predictions["test"]


def read(folder: pathlib.Path) -> Finished:
    """The run of a workdir.

    Raises:
      ValueError: the folder holds no run, or none that is finished, or a file of it is
        damaged.
    """
    options, spec = workdir.load_options(folder), workdir.load_spec(folder)
    if not (folder / "results.json").exists():
        raise DataError(
            f"{folder} has no results.json: its run is not finished; {_AGAIN}"
        )
    results = output.read_results(folder)
    predictions = {
        name: _predictions(folder / f"predictions_{name}.csv", results)
        for name in results.splits
    }
    history = read_history(folder, results.seeds)
    results = dataclasses.replace(results, predictions=predictions)
    return Finished(folder, options, spec, results, history)


def read_history(folder: pathlib.Path, seeds: Sequence[int]) -> dict[int, list[dict]]:
    """The epochs of a run's seeds, as in log.jsonl; [] where weights were imported.

    Raises:
      ValueError: a damaged file.
    """
    found = {}
    for seed in seeds:
        path, found[seed] = folder / f"seed_{seed}" / "log.jsonl", []
        try:
            if path.exists():
                lines = path.read_text("utf-8").splitlines()
                found[seed] = [json.loads(line) for line in lines]
        except (ValueError, OSError) as error:
            raise DataError(f"{path} cannot be read: {error}; {_AGAIN}") from error
    return found


def _predictions(path: pathlib.Path, results: Results) -> Predictions:
    """What `output.write_predictions` wrote; for a classification, logits of 1 for the predicted class and 0 for the others."""
    classes = results.classes

    def value(text: str) -> float:
        return classes.index(text) if classes else float(text)

    try:
        with open(path, encoding="utf-8", newline="") as lines:
            rows = list(csv.DictReader(lines))
        seeds = list(dict.fromkeys(int(row["seed"]) for row in rows))
        by_seed = [[r for r in rows if int(r["seed"]) == seed] for seed in seeds]
        ids = np.array([row["id"] for row in by_seed[0]])
        labels = np.array([value(row["label"]) for row in by_seed[0]])
        made = np.array([[value(r["prediction"]) for r in part] for part in by_seed])
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise DataError(
            f"{path} cannot be read ({type(error).__name__}: {error}); to write it again, "
            f"delete results.json and {_AGAIN}"
        ) from error
    if classes:
        labels = labels.astype(np.int32)
        logits = np.eye(len(classes), dtype=np.float32)[made.astype(int)]
        return Predictions(ids, dict(zip(seeds, logits, strict=True)), classes, labels)
    made = made.astype(np.float32)
    return Predictions(
        ids, dict(zip(seeds, made, strict=True)), (), labels.astype(np.float32)
    )
