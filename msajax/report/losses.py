"""The losses of a run at the epoch that validation chose, and the seconds of an epoch.

They stand for the columns of IML-CMM's Tables 4 and 5 and of CorMulT's Table 5. CorMulT's
are of its evaluator alone (phase `mce`), where the loss of an anchor is the sum of its terms
(equation 8).
"""

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from msajax.data.spec import MODALITIES
from msajax.report.results import Results

# Of each seed the rows of its epochs, as in log.jsonl.
History = Mapping[int, Sequence[Mapping]]
# {column: mean and standard deviation over the seeds}.
Columns = dict[str, tuple[float, float]]

_EVALUATOR = "mce"
# What a table says of its columns.
_NOTES = {
    "loss_text": "Losses and seconds are those of the evaluator (phase mce): the mean over the "
    "training batches of its chosen epoch, and the median of its epochs.",
    "loss": "Loss: ours is that on validation in the chosen epoch, without mixed batches. The "
    "paper does not say on which split it measured its own.",
}


def chosen(history: History) -> Columns:
    """'train_loss' and 'valid_loss' of the last phase; {} where weights were imported."""
    rows = _rows(history)
    return {
        key: _over_seeds([row[key] for row in rows])
        for key in ("train_loss", "valid_loss")
        if rows
    }


def columns(results: Results, history: History) -> Columns:
    """The columns of the papers' tables: 'loss', CorMulT's 'loss_<anchor>', 'epoch_seconds'.

    Args:
      results: of a run.
      history: of the same run.

    Returns:
      Those that the run has.
    """
    rows, phase = _rows(history, _EVALUATOR), _EVALUATOR
    if rows:
        found = {"loss": _over_seeds([row["train_loss"] for row in rows])}
        for anchor in MODALITIES:
            names = [k for k in rows[0] if k.startswith(f"train_{anchor}_")]
            if names:  # the evaluator of a row may correlate two modalities alone
                sums = [sum(row[k] for k in names) for row in rows]
                found[f"loss_{anchor}"] = _over_seeds(sums)
    else:
        rows, phase = _rows(history), ""
        found = (
            {"loss": _over_seeds([row["valid_loss"] for row in rows])} if rows else {}
        )
    if seconds := results.epoch_seconds(phase):
        found["epoch_seconds"] = seconds
    return found


def notes(metrics: Collection[str]) -> list[str]:
    """What a reader must know of the columns of a table that are no metrics."""
    found = [text for key, text in _NOTES.items() if key in metrics]
    return found[:1]  # CorMulT's "loss" is the mean of its anchors


def _rows(history: History, phase: str = "") -> list[Mapping]:
    """Each seed's row of the epoch that validation chose in a phase ('': the last one); [] where a seed has none."""
    best = [
        [row for row in rows if row["best"] and phase in ("", row["phase"])][-1:]
        for rows in history.values()
    ]
    return [rows[0] for rows in best] if all(best) else []


def _over_seeds(values: Sequence[float | None]) -> tuple[float, float]:
    array = np.array([math.nan if x is None else x for x in values])
    return float(array.mean()), float(array.std())
