"""Result tables: metric by metric, mean ± std over the seeds; terminal, Markdown, csv.

The input is what `results.json` holds (fractions): one run, or several to
compare. As in papers, accuracies and F1 are printed in %, MAE, Corr and R² as
they are. std is that of the population (ddof 0), as in the tables of
thuiar/MMSA; over one seed it is printed as '-'. Where a metric is NaN for a
seed, its mean is NaN too, and the table says for how many of the seeds.
"""

import io
from collections.abc import Mapping, Sequence
from csv import writer
from typing import Any, NamedTuple

import numpy as np
import rich.box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from msajax import metrics
from msajax.data.spec import DATASETS

Run = Mapping[str, Any]

_CAPTION = "mean ± std over the seeds; Acc and F1 in %"
# All others are printed in %. The losses and the time are published figures' alone.
_RAW = (
    *("mae", "corr", "r2", "loss", "loss_text", "loss_audio", "loss_vision"),
    "epoch_seconds",
)
_TITLES = {
    "mae": ("MAE", ""),
    "corr": ("Corr", ""),
    "acc7": ("Acc-7", ""),
    "acc5": ("Acc-5", ""),
    "acc3": ("Acc-3", ""),
    "acc2": ("Acc-2", ""),
    "acc2_has0": ("Acc-2", "has0"),
    "acc2_non0": ("Acc-2", "non0"),
    "acc2_weak": ("Acc-2", "weak"),
    "f1": ("F1", ""),
    "f1_has0": ("F1", "has0"),
    "f1_non0": ("F1", "non0"),
    "r2": ("R²", ""),
    "accuracy": ("Acc", ""),
    "weighted_f1": ("F1", "weighted"),
    "loss": ("Loss", ""),
    "loss_text": ("Loss", "text"),
    "loss_audio": ("Loss", "audio"),
    "loss_vision": ("Loss", "vision"),
    "epoch_seconds": ("Seconds", "per epoch"),
}


class _Style(NamedTuple):
    """How a figure is written: between mean and std, and around the best mean."""

    line: str
    bold: str


_INLINE, _STACKED = _Style(" ", "[b]{}[/b]"), _Style("\n", "[b]{}[/b]")
_MARKDOWN = _Style(" ", "**{}**")


def summarise(per_seed: Sequence[Mapping[str, float]]) -> dict[str, dict[str, Any]]:
    """Mean, std and values of each metric over the seeds.

    Args:
      per_seed: {metric: value} of each seed, all with the same metrics.

    Returns:
      {metric: {"mean", "std", "values"}}; mean and std are NaN where a value is.
    """
    summary = {}
    for name in per_seed[0]:
        values = [float(seed[name]) for seed in per_seed]
        mean, std = float(np.mean(values)), float(np.std(values))
        summary[name] = {"mean": mean, "std": std, "values": values}
    return summary


def render(results: Run | Sequence[Run], *, splits: Sequence[str] = ("test",)) -> Group:
    """The table for a rich console; plain text where that is no terminal.

    Args:
      results: one run: a row for each metric, a column for each split; or several
        runs on one dataset: a row for each system, the best figures in bold.
      splits: which splits to show.

    Returns:
      Title, table and caption; nine metrics fit into 80 columns.

    Raises:
      ValueError: no run, a split that the results lack, or several datasets.
    """
    style = _INLINE if isinstance(results, Mapping) else _STACKED
    title, header, rows = _grid(results, splits, style)
    table = Table(
        box=rich.box.SIMPLE,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0) if style is _INLINE else 0,
    )
    for column, heading in enumerate(header):
        table.add_column(heading, justify="right" if column else "left")
    for row in rows:
        table.add_row(*row)
    if isinstance(results, Mapping):
        caption = _captioned(results)
    else:
        caption = "\n".join([_CAPTION, *_unread_of(results, splits)])
    return Group(Text(title, style="bold"), table, Text(caption, style="dim"))


def _captioned(run: Run) -> str:
    """The caption of one run: which checkpoint it is, and which seeds ended early."""
    lines = [_CAPTION]
    if "checkpoint" in run:
        lines.append(f"checkpoint: {run['checkpoint']}")
    if stopped := run.get("stopped"):
        lines.append(f"ended early: seeds {', '.join(map(str, stopped))}")
    return "\n".join([*lines, *unread(run)])


def unread(run: Run, splits: Sequence[str] = ()) -> list[str]:
    """A line for each split of how many rows only have a substitute for a prediction.

    Args:
      run: results, or their facts; of a system that writes labels 'unread' is among them.
      splits: those that are wanted; () for all.

    Returns:
      [] of other systems.
    """
    return [
        f"{split}: rows whose text is no label, so that 0 (or neutral) is their "
        f"prediction, by seed: {', '.join(map(str, counts))}"
        for split, counts in run.get("unread", {}).items()
        if not splits or split in splits
    ]


def _unread_of(runs: Sequence[Run], splits: Sequence[str]) -> list[str]:
    """The lines of several runs for the splits that are shown."""
    return [f"{run['system']}, {line}" for run in runs for line in unread(run, splits)]


def confusion(run: Run, split: str = "test") -> Group:
    """The confusion matrix of a classification for a rich console.

    Args:
      run: has 'classes' and 'confusion', {split: a matrix of counts for each seed},
        true classes by predicted ones.
      split: which split to show.

    Returns:
      A row for each true class: the shares in % that were taken for each class, in
      the mean over the seeds, and the number of its utterances.
    """
    counts = np.asarray(run["confusion"][split])
    rows = counts.sum(axis=2, keepdims=True)
    support = np.max(rows, axis=0)[:, 0]
    # A seed whose predictions are NaN counts nowhere.
    finite = np.maximum(rows.any(axis=(1, 2)).sum(), 1)
    shares = np.sum(counts / np.maximum(rows, 1), axis=0) / finite
    table = Table(box=rich.box.SIMPLE, show_edge=False, pad_edge=False, padding=0)
    for heading in ("true", *run["classes"], "rows"):
        table.add_column(heading, justify="left" if heading == "true" else "right")
    for name, row, rows in zip(run["classes"], shares, support, strict=True):
        table.add_row(name, *(f"{100 * share:.1f}" for share in row), str(rows))
    title = f"confusion, {split}"
    caption = "of each true class, % taken for each; mean over the seeds"
    return Group(Text(title, style="bold"), table, Text(caption, style="dim"))


def markdown(results: Run | Sequence[Run], *, splits: Sequence[str] = ("test",)) -> str:
    """The table in Markdown; arguments and errors as in `render`."""
    title, header, rows = _grid(results, splits, _MARKDOWN)
    rule = [":--", *["--:"] * (len(header) - 1)]
    lines = [f"| {' | '.join(row)} |" for row in (header, rule, *rows)]
    runs = [results] if isinstance(results, Mapping) else results
    if notes := _unread_of(runs, splits):
        lines += ["", *(f"- {note}" for note in notes)]
    return "\n".join([f"{title}: {_CAPTION}", "", *lines, ""])


def csv(results: Run | Sequence[Run], *, splits: Sequence[str] = ("test",)) -> str:
    """A line for each system, split and metric; fractions in full precision.

    Args:
      results: one run or several, on any datasets.
      splits: which splits to write.

    Returns:
      Columns system, dataset, seeds, split, metric, mean, std.

    Raises:
      ValueError: a split that the results lack.
    """
    text = io.StringIO()
    sheet = writer(text, lineterminator="\n")
    sheet.writerow(["system", "dataset", "seeds", "split", "metric", "mean", "std"])
    for run in [results] if isinstance(results, Mapping) else results:
        names = [run["system"], run["dataset"], " ".join(map(str, run["seeds"]))]
        for split in splits:
            for metric, figure in _figures(run, split).items():
                row = [*names, split, metric, figure["mean"], figure["std"]]
                sheet.writerow(row)
    return text.getvalue()


def _grid(
    results: Run | Sequence[Run], splits: Sequence[str], style: _Style
) -> tuple[str, list[str], list[list[str]]]:
    """Title, column headings and rows of text."""
    if isinstance(results, Mapping):
        return _one(results, splits, style)
    return _several(results, splits, style)


def _one(
    run: Run, splits: Sequence[str], style: _Style
) -> tuple[str, list[str], list[list[str]]]:
    columns = [_figures(run, split) for split in splits]
    rows = [
        [
            _heading(name, style),
            *[_cell(name, column[name], style) for column in columns],
        ]
        for name in columns[0]
    ]
    title = run["system"]
    if "dataset" in run:
        title += f" on {DATASETS[run['dataset']].title}"
    seeds = ", ".join(map(str, run["seeds"]))
    word = "seed" if len(run["seeds"]) == 1 else "seeds"
    return f"{title}, {word} {seeds}", ["metric", *splits], rows


def _several(
    runs: Sequence[Run], splits: Sequence[str], style: _Style
) -> tuple[str, list[str], list[list[str]]]:
    datasets = sorted({run["dataset"] for run in runs})
    if len(datasets) != 1:
        raise ValueError(
            "a comparison needs runs on one dataset; got"
            f" {', '.join(datasets) or 'no run'}"
        )
    names = list(_figures(runs[0], splits[0]))
    rows = []
    for split in splits:
        figures = [_figures(run, split) for run in runs]
        best = {name: _best(name, figures) for name in names}
        for run, figure in zip(runs, figures, strict=True):
            cells = [_cell(name, figure[name], style, best[name]) for name in names]
            row = run["system"] if len(splits) == 1 else f"{run['system']} {split}"
            rows.append([row, *cells])
    title = f"{DATASETS[datasets[0]].title}, {' and '.join(splits)}"
    return title, ["system", *[_heading(name, style) for name in names]], rows


def _figures(run: Run, split: str) -> Mapping[str, Any]:
    if split not in run:
        raise ValueError(f'the results of {run["system"]} have no split "{split}"')
    return run[split]


def _best(metric: str, figures: Sequence[Mapping[str, Any]]) -> float:
    best = float("nan")
    for figure in figures:
        if metrics.improves(metric, figure[metric]["mean"], best):
            best = figure[metric]["mean"]
    return best


def _cell(
    metric: str, figure: Mapping[str, Any], style: _Style, best: float | None = None
) -> str:
    """'mean ± std'; a mean that reads as `best` does is bold."""
    mean, values = number(metric, figure["mean"]), figure["values"]
    undefined = int(np.isnan(values).sum())
    if undefined:
        return f"nan{style.line}({undefined} of {len(values)})"
    std = number(metric, figure["std"]) if len(values) > 1 else "-"
    if best is not None and mean == number(metric, best):
        mean = style.bold.format(mean)
    return f"{mean}\n±{std}" if style.line == "\n" else f"{mean} ± {std}"


def number(metric: str, value: float) -> str:
    """A figure as tables print it: in %, or as it is."""
    return f"{value:.3f}" if metric in _RAW else f"{100 * value:.2f}"


def title(metric: str) -> str:
    """The name of a metric as tables print it: 'Acc-2 has0'."""
    return " ".join(filter(None, _title(metric)))


def _title(metric: str) -> tuple[str, str]:
    if metric in _TITLES:
        return _TITLES[metric]
    kind, _, name = metric.rpartition("_")  # of a class
    return _TITLES[kind][0], name


def _heading(metric: str, style: _Style) -> str:
    head, rest = _title(metric)
    arrow = "↓" if metrics.better(metric) == "min" else "↑"
    if style.line == "\n":
        # The arrow ends the name, where that costs no width (names of classes are long).
        if len(rest) > 4:
            return f"{head} {arrow}\n{rest}"
        return f"{head}\n{rest} {arrow}" if rest else f"\n{head} {arrow}"
    return f"{head} {rest} {arrow}" if rest else f"{head} {arrow}"
