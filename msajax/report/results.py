"""Results of a run: the metrics of each split over its seeds, and the predictions behind them."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from msajax.data.spec import suggest


@dataclasses.dataclass(frozen=True)
class Predictions:
    """Predictions for rows of data.

    Attributes:
      ids: [N] str.
      seeds: {seed: [N] float32 sentiment, or [N, C] logits}.
      classes: C names of a classification; () of a regression.
      labels: [N], or None where they are not known.
      figures: further columns that the system reports: {name: [N] float32}, each the mean
        over the seeds.
    """

    ids: np.ndarray
    seeds: Mapping[int, np.ndarray]
    classes: tuple[str, ...] = ()
    labels: np.ndarray | None = None
    figures: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:  # a notebook shows it; the arrays are thousands of lines
        figures = f", figures: {', '.join(self.figures)}" if self.figures else ""
        return f"Predictions({len(self)} rows, seeds {', '.join(map(str, self.seeds))}{figures})"

    @property
    def mean(self) -> np.ndarray:
        """The mean over the seeds: [N], or [N, C]."""
        return np.mean(list(self.seeds.values()), axis=0)

    @property
    def names(self) -> list[str]:
        """Of each row the most probable class by the mean over the seeds; [] of a regression."""
        return (
            [self.classes[i] for i in self.mean.argmax(axis=-1)] if self.classes else []
        )


@dataclasses.dataclass(frozen=True)
class ClipPrediction:
    """The prediction for a clip, by the mean over the seeds.

    Attributes:
      id: of the clip; its path, where it has no other.
      score: sentiment on the scale of the training's labels; of a classification the
        probability of `label`.
      scale: the lowest and the highest score.
      label: 'negative', 'neutral' or 'positive' as the data set's three classes have it;
        of a classification the most probable class.
      seeds: the score of each seed.
      probabilities: of each class of a classification; {} of a regression.
      without: the score with a modality removed, of each one that the clip has; {} where
        it has only one.
      figures: what the system reports beside the score, such as correlation coefficients.
      seconds: by stage: 'audio' and 'vision' (reading and features), 'text' (with the
        recognition of speech), 'load' (the checkpoints, at the first clip), 'score'.
      transcript: as it was read; '' where there is none.
      notes: what the reader should know.
      audio, vision: the features [L, D] that were read; [0, 0] where there are none.
    """

    id: str
    score: float
    scale: tuple[float, float]
    label: str
    seeds: Mapping[int, float]
    probabilities: Mapping[str, float]
    without: Mapping[str, float]
    figures: Mapping[str, float]
    seconds: Mapping[str, float]
    transcript: str = ""
    notes: tuple[str, ...] = ()
    audio: np.ndarray = dataclasses.field(
        default_factory=lambda: np.zeros((0, 0), np.float32), repr=False, compare=False
    )
    vision: np.ndarray = dataclasses.field(
        default_factory=lambda: np.zeros((0, 0), np.float32), repr=False, compare=False
    )

    @property
    def contributions(self) -> dict[str, float]:
        """By how much each modality raises the score: the score minus that without it."""
        return {m: self.score - score for m, score in self.without.items()}


Summary = Mapping[str, Mapping[str, Any]]


@dataclasses.dataclass(frozen=True)
class Results:
    """What a run reached.

    Attributes:
      system, dataset: their names.
      seeds: those that the figures are over.
      splits: {split: {metric: {'mean', 'std', 'values'}}}, values in the order of the seeds.
      facts: how the figures came about: epochs, seconds and (as the median) seconds per
        epoch of each seed, also by phase (phase_seconds), peak_memory in bytes, parameters
        {'trained', 'frozen'}, the computation's precision, version, config_sha256, data_sha256, checkpoint, stopped; {}
        of an evaluation. Of a system that writes labels also unread, {split: rows of each seed whose text is none}.
      classes: names of a classification's classes.
      confusion: {split: of each seed a matrix of counts, true by predicted classes}.
      predictions: {split: predictions behind the figures}.
    """

    system: str
    dataset: str
    seeds: tuple[int, ...]
    splits: Mapping[str, Summary]
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    classes: tuple[str, ...] = ()
    confusion: Mapping[str, list] = dataclasses.field(default_factory=dict)
    predictions: Mapping[str, Predictions] = dataclasses.field(
        default_factory=dict, repr=False
    )

    def epoch_seconds(self, phase: str = "") -> tuple[float, float] | None:
        """Seconds of an epoch of a phase or of all, mean and deviation over the seeds; None of a run that did not record them."""
        seconds: list[float] = self.facts.get("seconds_per_epoch") or []
        if phase:
            seconds = (self.facts.get("phase_seconds") or {}).get(phase) or []
        if not seconds or None in seconds:
            return None
        return float(np.mean(seconds)), float(np.std(seconds))

    def __getitem__(self, metric: str) -> float:
        """The mean over the seeds on test (or the only split), by a metric's name: results["mae"]."""
        figures = self.splits.get("test") or next(iter(self.splits.values()))
        if metric not in figures:
            raise KeyError(f'no metric "{metric}"{suggest(metric, figures)}')
        return figures[metric]["mean"]

    def __repr__(self) -> str:
        return str(self)

    def to_dict(self) -> dict[str, Any]:
        """The content of results.json."""
        found = {
            "system": self.system,
            "dataset": self.dataset,
            "seeds": list(self.seeds),
            **self.splits,
            **self.facts,
        }
        if self.classes:
            found |= {"classes": self.classes, "confusion": self.confusion}
        return found

    def __str__(self) -> str:
        from rich.console import Console

        from msajax.report import table

        console = Console(width=100, no_color=True)
        with console.capture() as capture:
            console.print(table.render(self.to_dict(), splits=list(self.splits)))
        return capture.get()
