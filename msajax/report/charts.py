"""Figures of runs in matplotlib: curves, predictions, confusion, embeddings, matrices.

Each function returns a new figure. Lines differ in colour, which the colour-blind can tell
apart (Okabe and Ito's palette), and in dashes or markers.
"""

import io
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

# Okabe & Ito, "Color Universal Design", without the yellow, which is faint on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_DASHES = ("-", "--", "-.", ":")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
# Readable at the width of a phone, on which 5 inches are shown as about 2.5.
_STYLE: Any = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "pdf.fonttype": 42,  # text stays text
    "savefig.dpi": 160,
}

Series = Mapping[str, tuple[Sequence[float], Sequence[float]]]


def figure(width: float = 5.0, height: float = 3.4, *, rows: int = 1, cols: int = 1):
    """A figure and its axes, [rows, cols], in the style of all."""
    with matplotlib.rc_context(_STYLE):
        made = Figure(figsize=(width, height), layout="constrained")
        axes = made.subplots(rows, cols, squeeze=False)
    return made, axes


def saved(made: Figure, form: str) -> bytes:
    """A figure as a file, the same bytes each time.

    Args:
      made: of a function below.
      form: 'png' or 'pdf'.
    """
    date = {"Software": None} if form == "png" else {"CreationDate": None}
    data = io.BytesIO()
    with matplotlib.rc_context(_STYLE):  # some of it is read when a figure is saved
        made.savefig(data, format=form, metadata=date)
    return data.getvalue()


def lines(series: Series, *, x: str, y: str, markers: bool = False) -> Figure:
    """Values over a number.

    Args:
      series: {label: (x [N], y [N])}.
      x, y: titles of the axes.
      markers: also mark each point: of few.
    """
    made, ((axis,),) = figure()
    styles = itertools.cycle(_DASHES)
    for i, (label, (across, up)) in enumerate(series.items()):
        axis.plot(
            across,
            up,
            next(styles),
            color=COLOURS[i % len(COLOURS)],
            marker=_MARKERS[i % len(_MARKERS)] if markers else None,
            label=label,
        )
    axis.set(xlabel=x, ylabel=y)
    if x == "epoch":
        axis.xaxis.get_major_locator().set_params(integer=True)
    if len(series) > 1:
        legend(made, axis)
    return made


def scatter(labels: np.ndarray, preds: np.ndarray) -> Figure:
    """Predictions over labels.

    Args:
      labels: [N].
      preds: [N], means over the seeds.
    """
    made, ((axis,),) = figure(4.4, 4.2)
    axis.scatter(labels, preds, s=9, alpha=0.5, color=COLOURS[0], linewidths=0)
    ends = np.array([min(labels.min(), preds.min()), max(labels.max(), preds.max())])
    axis.plot(ends, ends, "--", color=COLOURS[1], label="prediction = label")
    axis.set(xlabel="label", ylabel="prediction")
    axis.legend(loc="upper left")
    return made


def calibration(labels: np.ndarray, preds: np.ndarray, *, bins: int = 10) -> Figure:
    """The mean label of rows with about the same prediction, with twice its standard error.

    Args:
      labels: [N].
      preds: [N].
      bins: at most, each of as many rows as the others.
    """
    parts = np.array_split(np.argsort(preds, kind="stable"), min(bins, len(preds)))
    across = [preds[part].mean() for part in parts]
    up = [labels[part].mean() for part in parts]
    error = [2 * labels[part].std() / np.sqrt(len(part)) for part in parts]
    made, ((axis,),) = figure(4.4, 4.2)
    axis.errorbar(
        across, up, error, fmt="o-", color=COLOURS[0], capsize=3, label="rows of a bin"
    )
    ends = [min(across + up), max(across + up)]
    axis.plot(ends, ends, "--", color=COLOURS[1], label="calibrated")
    axis.set(xlabel="mean prediction", ylabel="mean label")
    axis.legend(loc="upper left")
    return made


def matrix(
    values: np.ndarray,
    *,
    rows: Sequence[str],
    cols: Sequence[str],
    x: str = "",
    y: str = "",
    form: str = "{:.2f}",
    limits: tuple[float, float] | None = None,
    title: str = "",
) -> Figure:
    """A table of numbers as colours; the numbers too, where there are at most 150.

    Args:
      values: [R, C].
      rows, cols: names of the R rows and the C columns.
      x, y: titles of the axes.
      form: of a number.
      limits: of the colours; None for those of the values. Limits around 0 take colours
        with two ends, and are as far from 0 on both sides.
      title: of the figure.
    """
    high = max(map(len, cols), default=0)
    made, ((axis,),) = figure(
        min(12, 1.8 + 0.46 * len(cols)),
        min(12, 1.2 + 0.4 * len(rows) + 0.07 * high),
    )
    low, top = limits or (np.nanmin(values), np.nanmax(values))
    colours = "Blues"
    if low < 0 < top:  # 0 is white
        colours, top = "RdBu_r", max(-low, top)
        low = -top
    shown = axis.imshow(values, cmap=colours, vmin=low, vmax=top, aspect="auto")
    turned: Any = dict(rotation=60, ha="right") if high > 2 else {}
    axis.set_xticks(range(len(cols)), cols, fontsize=8.5, **turned)
    axis.set_yticks(range(len(rows)), rows, fontsize=8.5)
    axis.set(xlabel=x, ylabel=y, title=title)
    axis.grid(False)
    if values.size <= 150:
        for i, j in np.ndindex(*values.shape):
            r, g, b, _ = shown.cmap(shown.norm(values[i, j]))
            dark = 0.3 * r + 0.6 * g + 0.1 * b < 0.5
            text = form.format(values[i, j])
            place = dict(ha="center", va="center", fontsize=8)
            axis.text(j, i, text, color="white" if dark else "black", **place)
    made.colorbar(shown, ax=axis)
    return made


def embedding(
    panels: Mapping[str, tuple[np.ndarray, Sequence[str]]], *, colour: str
) -> Figure:
    """Points in two or three dimensions, coloured by their group.

    Args:
      panels: {title: (points [N, 2] or [N, 3], group of each point)}.
      colour: title of the groups.
    """
    deep = next(iter(panels.values()))[0].shape[1] == 3
    with matplotlib.rc_context(_STYLE):
        made = Figure(figsize=(4.2 * len(panels), 4.4), layout="constrained")
    groups = sorted({g for _, names in panels.values() for g in names})
    for i, (title, (points, names)) in enumerate(panels.items()):
        kind = {"projection": "3d"} if deep else {}
        axis = made.add_subplot(1, len(panels), i + 1, **kind)
        for k, group in enumerate(groups):
            mine = points[[n == group for n in names]]
            style = dict(color=COLOURS[k % len(COLOURS)], alpha=0.7, s=14)
            marker = _MARKERS[k % len(_MARKERS)]
            axis.scatter(*mine.T, marker=marker, label=group, linewidths=0, **style)
        # The axes of t-SNE have no unit.
        axis.set(title=title, xticks=[], yticks=[], **({"zticks": []} if deep else {}))
    handles = made.axes[0].get_legend_handles_labels()
    made.legend(*handles, title=colour, loc="outside lower center", ncols=len(groups))
    return made


def bars(values: Mapping[str, tuple[float, float]], *, x: str) -> Figure:
    """A figure of several runs, with its deviation over the seeds.

    Args:
      values: {run: (mean, std)}.
      x: title of the axis.
    """
    made, ((axis,),) = figure(5.0, 1.1 + 0.35 * len(values))
    means, stds = np.array(list(values.values())).T
    places = np.arange(len(values))[::-1]
    axis.errorbar(means, places, xerr=stds, fmt="o", color=COLOURS[0], capsize=3)
    axis.set_yticks(places, list(values))
    axis.set_ylim(-0.6, len(values) - 0.4)
    axis.set(xlabel=x)
    return made


def legend(made: Figure, axis: Any) -> None:
    """The names of what an axis of a figure shows, below the figure and never on the lines."""
    handles, names = axis.get_legend_handles_labels()
    ncols = min(len(names), 3)
    made.legend(handles, names, loc="outside lower center", ncols=ncols)
