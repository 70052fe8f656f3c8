"""Figures of the numbers of several runs: by modality, by weight, losses, robustness."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from msajax.report import charts, robust, table
from msajax.report.finished import Finished

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
    losses = [[facts["valid_loss"]] for facts in map(_chosen, read)]
    drawn, reached = weights.T, np.hstack([metrics, losses]).T
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


def _chosen(run: Finished) -> dict[str, float]:
    """The losses at the epoch that validation chose, and the time of an epoch: means over the seeds."""
    best = [[row for row in rows if row["best"]][-1:] for rows in run.history.values()]
    rows = [row for found in best for row in found]
    if not rows:
        raise ValueError(f"{run.folder} has no epochs: its weights were imported")
    losses = {
        key: float(np.mean([row[key] for row in rows]))
        for key in ("train_loss", "valid_loss")
    }
    seconds = run.results.epoch_seconds()
    return {**losses, "epoch_seconds": seconds[0] if seconds else np.nan}


def losses(read: Sequence[Finished]) -> Drawn:
    """The columns of losses and times of IML-CMM's Tables 4 and 5 and CorMulT's Table 5."""
    found = {run.name: _chosen(run) for run in read}
    titles = {
        "train_loss": "training loss of the chosen epoch",
        "valid_loss": "validation loss of the chosen epoch",
        "epoch_seconds": "seconds per epoch",
    }
    return {
        key: (
            charts.bars(
                {name: (facts[key], 0.0) for name, facts in found.items()}, x=title
            ),
            f"{title}, mean over the seeds (the columns of IML-CMM's Tables 4 and 5 and of "
            "CorMulT's Table 5)",
        )
        for key, title in titles.items()
    }


def _robustness(
    read: Sequence[Finished], change: robust.Change, levels: Sequence[float], x: str
) -> Drawn:
    test = read[0].results.splits["test"]
    metric = next(k for k in ("mae", "weighted_f1") if k in test)
    found = {}
    for run in read:
        made = robust.curves(run.open(), change, levels, metric=metric)
        series = {m: (levels, values) for m, values in made.items()}
        picture = charts.lines(series, x=x, y=table.title(metric), markers=True)
        caption = f"{run.name}: {table.title(metric)} on test over the {x}, mean over the seeds"
        found[run.name] = picture, caption
    return found


def missing(read: Sequence[Finished]) -> Drawn:
    """A metric over the share of rows that lack a modality."""
    x = "share of rows without the modality"
    return _robustness(read, robust.missing, robust.SHARES, x)


def noise(read: Sequence[Finished]) -> Drawn:
    """A metric over the noise on a modality's features."""
    x = "noise, in standard deviations of a feature"
    return _robustness(read, robust.noisy, robust.LEVELS, x)
