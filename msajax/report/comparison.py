"""Our figures beside the published ones: Markdown, csv and HTML of one table of a paper."""

import csv
import dataclasses
import io
from collections.abc import Iterable, Iterator, Sequence

from msajax.data.spec import DATASETS
from msajax.report import losses, published, table
from msajax.report.page import Page
from msajax.report.published import Figure
from msajax.report.results import Results

_CAPTION = "ours (mean ± std over the seeds, on test) / published (difference); Acc and F1 in %"
_DEMO = (
    "Ours are figures of the demo corpus, not of the data that the paper measured on: the "
    "differences mean nothing. Ours is '-' where the demo corpus lacks the metric: it has those "
    "of CMU-MOSI, its dialogues accuracy and weighted F1."
)


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of a published table, and our run of it.

    Attributes:
      figures: the published cells, of one data set, system and setting.
      ours: what our run reached; None where it has no results.
      state: why there are none, or not of all seeds; '' where all is done.
      recipe: of our run, with its values; '' where there is none.
      more: columns of our run that are no metrics, as `losses.columns` has them.
      differs: what our run did otherwise than its recipe.
    """

    figures: Sequence[Figure]
    ours: Results | None
    state: str
    recipe: str
    more: losses.Columns = dataclasses.field(default_factory=dict)
    differs: str = ""

    @property
    def name(self) -> str:
        """The system and its setting: 'mfon/no_prompts'."""
        first = self.figures[0]
        return "/".join(filter(None, (first.system, first.setting)))

    def mean_std(self, metric: str) -> tuple[float, float] | None:
        """Ours on test, or a loss or time; None where the run does not have the metric."""
        if metric in self.more:
            return self.more[metric]
        test = self.ours.splits.get("test", {}) if self.ours else {}
        return (test[metric]["mean"], test[metric]["std"]) if metric in test else None


def markdown(rows: Sequence[Row], *, demo: bool) -> str:
    """The table in Markdown.

    Args:
      rows: of one paper and table.
      demo: whether ours were measured on the demo corpus.

    Returns:
      A table for each data set, then what is missing and the notes of the cells.
    """
    lines = [f"# {_heading(rows)}", "", _CAPTION, *(["", _DEMO] if demo else [])]
    for note in _remarks(rows):
        lines += ["", note]
    for title, header, cells in _grids(rows):
        rule = [":--", *["--:"] * (len(header) - 1)]
        lines += ["", f"## {title}", ""]
        lines += [f"| {' | '.join(row)} |" for row in (header, rule, *cells)]
    for title, items in _lists(rows):
        lines += ["", f"## {title}", "", *(f"- {item}" for item in items)]
    return "\n".join(lines) + "\n"


def page(rows: Sequence[Row], *, demo: bool) -> str:
    """The table as one HTML file; arguments as in `markdown`."""
    made = Page(_heading(rows))
    made.text(_CAPTION)
    if demo:
        made.text(_DEMO, strong=True)
    for note in _remarks(rows):
        made.text(note)
    for title, header, cells in _grids(rows):
        made.heading(title)
        made.table(header, cells)
    for title, items in _lists(rows):
        made.heading(title)
        made.items(items)
    return str(made)


def sheet(rows: Sequence[Row]) -> str:
    """The table as csv: a line for each published cell, values as `msajax.metrics` has them.

    The column `corpus` is the data set that ours were measured on.

    Args:
      rows: of one paper and table.
    """
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(
        "paper table dataset system setting metric published corpus seeds mean std "
        "difference state recipe note".split()
    )
    for row in rows:
        for f in row.figures:
            corpus, seeds, ours = "", "", ("", "", "")
            if row.ours and (found := row.mean_std(f.metric)):
                corpus, seeds = row.ours.dataset, " ".join(map(str, row.ours.seeds))
                ours = (*found, found[0] - f.value)
            names = [f.paper, f.table, f.dataset, f.system, f.setting, f.metric]
            measured = [f.value, corpus, seeds, *ours]
            lines.writerow([*names, *measured, row.state, row.recipe, f.note])
    return text.getvalue()


def _heading(rows: Sequence[Row]) -> str:
    first = rows[0].figures[0]
    what = published.TABLES[first.paper][first.table]
    return f"{published.PAPERS[first.paper]}, Table {first.table}: {what}"


def _remarks(rows: Sequence[Row]) -> list[str]:
    """What a reader must know of columns that are no metrics."""
    return losses.notes({f.metric for row in rows for f in row.figures})


def _grids(
    rows: Sequence[Row],
) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Of each data set: title, column headings and cells."""
    for dataset in dict.fromkeys(row.figures[0].dataset for row in rows):
        mine = [row for row in rows if row.figures[0].dataset == dataset]
        names = list(dict.fromkeys(f.metric for row in mine for f in row.figures))
        cells = [[row.name, *(_cell(row, name) for name in names)] for row in mine]
        yield DATASETS[dataset].title, ["system", *map(table.title, names)], cells


def _cell(row: Row, metric: str) -> str:
    """'84.20 ± 0.31 / 84.84 (-0.64)'; '-' for what is not there, * where the cell has a note."""
    ours, found = "-", row.mean_std(metric)
    if found and row.ours:
        ours = table.number(metric, found[0])
        if len(row.ours.seeds) > 1:
            ours += f" ± {table.number(metric, found[1])}"
    figure = next((f for f in row.figures if f.metric == metric), None)
    if figure is None:
        return f"{ours} / -" if found else "-"
    text = f"{ours} / {table.number(metric, figure.value)}{'*' * bool(figure.note)}"
    if found:
        difference = table.number(metric, found[0] - figure.value)
        text += f" ({'' if difference.startswith('-') else '+'}{difference})"
    return text


def _lists(rows: Sequence[Row]) -> Iterator[tuple[str, list[str]]]:
    """What is missing and what was run, then the notes (*)."""
    named = [(f"{row.name} ({row.figures[0].dataset})", row) for row in rows]
    lists = {
        "Missing": _grouped((row.state, name) for name, row in named),
        "Differences from the recipes": _grouped(
            (row.differs, name) for name, row in named
        ),
        "Runs": _grouped(
            (f"{row.recipe}, seeds {', '.join(map(str, row.ours.seeds))}", row.name)
            for row in rows
            if row.ours
        ),
    }
    for title, groups in lists.items():
        if groups:
            yield title, [f"{', '.join(names)}: {why}" for why, names in groups.items()]
    notes = _grouped(
        (f.note, f"{row.name} {table.title(f.metric)} ({f.dataset})")
        for row in rows
        for f in row.figures
    )
    if notes:
        yield "Notes (*)", [f"{note}: {', '.join(c)}" for note, c in notes.items()]


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, dict[str, None]]:
    """{reason: the names that have it, each once, in order} of (reason, name); '' is no reason."""
    found: dict[str, dict[str, None]] = {}
    for why, name in pairs:
        if why:
            found.setdefault(why, {})[name] = None
    return found
