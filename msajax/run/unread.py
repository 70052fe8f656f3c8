"""Predictions of systems that write labels, some only a substitute (`Model.unread`), and how many those are."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from msajax.models.base import Model
from msajax.train import evaluate, feed

# {split: {seed: [N, ...]}}
Rows = dict[str, dict[int, np.ndarray]]


class Made(NamedTuple):
    """Predictions of splits.

    Attributes:
      preds: as of `Run.forward`.
      unread: [N] each, 1 of rows whose text is no label; {} of a system that has a
        prediction of every row.
    """

    preds: Rows
    unread: Rows

    @property
    def facts(self) -> dict[str, Any]:
        """The number of such rows of each seed, for the facts of results: {'unread': {split: [number]}}, or {}."""
        if not self.unread:
            return {}
        return {
            "unread": {
                name: [round(float(rows.sum())) for rows in made.values()]
                for name, made in self.unread.items()
            }
        }

    @property
    def figures(self) -> dict[str, np.ndarray]:
        """The column of such rows, as the share of the seeds: {'unread': [N]}, or {}."""
        if not self.unread:
            return {}
        rows = evaluate.joined(self.unread)
        return {"unread": np.mean(list(rows.values()), axis=0)}


def predict(
    forward: Callable[..., dict[str, dict[int, Any]]],
    model: Model,
    splits: Mapping[str, feed.Source],
    seeds: Sequence[int] = (),
) -> Made:
    """The predictions of the best checkpoints, each computed once.

    Args:
      forward: `Run.forward`, or an `inference.Inference`.
      model: the system.
      splits: to compute.
      seeds: the recipe's, or some of them.
    """
    if not (output := model.unread):
        return Made(forward(splits, seeds=seeds), {})
    found = forward(splits, seeds=seeds, outputs={"pred": 0, output: 0})
    return Made(_only("pred", found), _only(output, found))


def _only(output: str, found: Mapping[str, Mapping[int, Any]]) -> Rows:
    return {
        name: {seed: arrays[output] for seed, arrays in made.items()}
        for name, made in found.items()
    }
