"""Figures of the numbers of several runs: by modality, by weight, losses, robustness."""

import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from msajax.data.spec import MODALITIES
from msajax.report import charts, losses, robust, table
from msajax.report.finished import Finished

# Of `losses_and_times`: {column: (title, whose it is)}.
_COLUMNS = {
    "train_loss": ("training loss of the chosen epoch", ""),
    "valid_loss": (
        "validation loss of the chosen epoch",
        " (Loss of IML-CMM's Tables 4 and 5)",
    ),
    **{
        f"loss_{m}": (
            f"the evaluator's loss of {m}",
            f" (L_{m[0].upper()} of CorMulT's Table 5)",
        )
        for m in MODALITIES
    },
    "epoch_seconds": (
        "seconds per epoch",
        " (Epoch_time of CorMulT's Table 5, there of the evaluator)",
    ),
}
# {part: (figure, caption)}.
Drawn = Mapping[str, tuple[Figure, str]]


def mfon_1(read: Sequence[Finished]) -> Drawn:
    """MFON, Fig. 1: a system on single modalities, and on all."""
    if others := [r for r in read if r.results.system != read[0].results.system]:
        raise ValueError(
            f"--figure mfon_1 compares modalities of one system, but {read[0].folder} is of "
            f"{read[0].results.system}, and {others[0].folder} of {others[0].results.system}"
        )
    found = {}
    for key in _accuracies(read[0]):
        values = {}
        for run in read:
            figure = run.results.splits["test"][key]
            name = " + ".join(run.options.data.modalities)
            values[name] = 100 * figure["mean"], 100 * figure["std"]
        if len(values) < len(read):
            raise ValueError(
                "--figure mfon_1 needs runs on different modalities, but two have the same; "
                "train with --config.data.modalities=text, and so on"
            )
        caption = (
            f"{table.title(key)} of {read[0].results.system} on test by the modalities that "
            "it sees, mean and standard deviation over the seeds (MFON, Fig. 1)"
        )
        found[key] = charts.bars(values, x=f"{table.title(key)} (%)"), caption
    return found


def _accuracies(run: Finished) -> list[str]:
    """Accuracy and F1 of a data set: of two classes, or of its own."""
    wanted = ("acc2_non0", "f1_non0", "acc2", "f1", "accuracy", "weighted_f1")
    return [key for key in wanted if key in run.results.splits["test"]]


def iml_cmm_6(read: Sequence[Finished]) -> Drawn:
    """IML-CMM, Fig. 6: the weights of the modalities' losses against the metrics."""
    names = list(read[0].results.splits["test"])
    weights = np.array([run.options.model["weights"] for run in read])
    metrics = [[run.results.splits["test"][k]["mean"] for k in names] for run in read]
    valid = [[found["valid_loss"][0]] for found in map(_chosen, read)]
    drawn, reached = weights.T, np.hstack([metrics, valid]).T
    if len(read) < 3 or not drawn.std(axis=1).all():
        raise ValueError(
            f"--figure iml_cmm_6 needs at least 3 runs whose weights of M, T, A and V all "
            f"differ; got {len(read)} (the paper: 100; rows weights_0 to weights_99 of the "
            "recipe draw them)"
        )
    size = len(drawn)
    with np.errstate(invalid="ignore", divide="ignore"):  # a metric that never changes
        found = np.corrcoef(drawn, reached)[size:, :size]
    made = charts.matrix(
        found,
        rows=[*map(table.title, names), "loss (valid)"],
        cols=list("MTAV"),
        x="weight of the loss of",
        limits=(-1.0, 1.0),
    )
    caption = (
        f"Correlation over {len(read)} runs of the weights of the modalities' losses with "
        "the metrics on test (IML-CMM, Fig. 6)"
    )
    return {"correlation": (made, caption)}


def _chosen(run: Finished) -> losses.Columns:
    """The losses at the epoch that validation chose."""
    if not (found := losses.chosen(run.history)):
        raise ValueError(f"{run.folder} has no epochs: its weights were imported")
    return found


def losses_and_times(read: Sequence[Finished]) -> Drawn:
    """The columns of losses and times of IML-CMM's Tables 4 and 5 and CorMulT's Table 5."""
    found = {
        run.name: losses.columns(run.results, run.history) | _chosen(run)
        for run in read
    }
    drawn = {}
    for key, (title, source) in _COLUMNS.items():
        values = {name: made[key] for name, made in found.items() if key in made}
        if values:
            caption = f"{title}, mean and standard deviation over the seeds{source}"
            drawn[key] = charts.bars(values, x=title), caption
    return drawn


def _robustness(
    run: Finished,
    curves: Callable[..., Mapping[str, list[float]]],
    levels: Sequence[float],
    x: str,
) -> tuple[Figure, str] | None:
    """Curves of the modalities with their caption; None where the rows have none of the fields.

    Args:
      run: finished.
      curves: `robust.curves` of it, but for the levels and the metric.
      levels: of the change.
      x: what they are.
    """
    test = run.results.splits["test"]
    metric = next(k for k in ("mae", "weighted_f1") if k in test)
    made = curves(levels=levels, metric=metric)
    if not made:
        return None
    series = {m: (levels, values) for m, values in made.items()}
    picture = charts.lines(series, x=x, y=table.title(metric), markers=True)
    what = f"{table.title(metric)} on test over the {x}"
    return picture, f"{run.name}, {' and '.join(made)}: {what}, mean over the seeds"


def missing(read: Sequence[Finished]) -> Drawn:
    """A metric over the share of rows that lack a modality."""
    fields = {modality: f"{modality}_mask" for modality in MODALITIES}
    x = "share of rows without the modality"
    drawn = {}
    for run in read:
        opened = run.open()
        change = robust.without(opened)
        curves = functools.partial(robust.curves, opened, change, fields=fields)
        drawn[run.name] = _robustness(run, curves, robust.SHARES, x)
    return _made(drawn)


def noise(read: Sequence[Finished]) -> Drawn:
    """A metric over the noise on a modality's features, and over the share of word pieces that are others."""
    features = {modality: modality for modality in MODALITIES}
    drawn = {}
    for run in read:
        curves = functools.partial(robust.curves, run.open())
        of = functools.partial(curves, robust.noisy, fields=features)
        x = "noise, in standard deviations of a feature"
        drawn[run.name] = _robustness(run, of, robust.LEVELS, x)
        of = functools.partial(curves, robust.replaced, fields={"text": "text_ids"})
        x = "share of word pieces replaced by pieces of other texts"
        drawn[f"{run.name}_text"] = _robustness(run, of, robust.SHARES, x)
    return _made(drawn)


def _made(drawn: Mapping[str, tuple[Figure, str] | None]) -> Drawn:
    return {name: made for name, made in drawn.items() if made}
