"""The report of finished runs: figures of each, comparison of several, worst errors, cards."""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from msajax.data.spec import DATASETS
from msajax.report import card, charts, significance, table
from msajax.report.finished import Finished
from msajax.report.page import Page
from msajax.report.papers import PaperFigure
from msajax.run import corpora, workdir
from msajax.run.options import DataOptions, Options

# Rows of the table of worst errors.
_WORST = 15
# Characters of a text there.
_SHOWN = 240


def write(
    read: Sequence[Finished], out: pathlib.Path, figures: Sequence[PaperFigure] = ()
) -> pathlib.Path:
    """Writes report.html, the figures, and card_<run>.md of each run into a folder.

    Args:
      read: runs of one data set, with different names.
      out: the folder, made where missing.
      figures: of papers, to draw too.

    Returns:
      The path of report.html.
    """
    dataset = DATASETS[read[0].results.dataset]
    # What a figure of a paper needs may be missing: before anything is written.
    drawn = [(figure, figure.draw(read)) for figure in figures]
    title = f"{', '.join(run.name for run in read)} on {dataset.title}"
    book = _Book(Page(title, contents=True), out)
    book.page.heading("Results on test")
    _summary(book, read)
    if len(read) > 1:
        book.page.heading(f"Compared with {read[0].name}")
        _comparison(book, read)
    for figure, made in drawn:
        book.page.heading(figure.title)
        for name, (picture, caption) in made.items():
            book.add(f"{figure.name}_{name}", picture, caption)
    for run in read:
        book.page.heading(run.name)
        _run(book, run)
        workdir.write(out / f"card_{run.name}.md", card.markdown(run))
    path = out / "report.html"
    workdir.write(path, str(book.page))
    return path


class _Book:
    """A page whose figures are files too."""

    def __init__(self, page: Page, out: pathlib.Path):
        self.page = page
        self._folder = out / "figures"
        self._folder.mkdir(parents=True, exist_ok=True)

    def add(self, name: str, made: Figure, caption: str) -> None:
        """Puts a figure onto the page and into figures/NAME.png and .pdf."""
        png = charts.saved(made, "png")
        self.page.picture(png, caption)
        (self._folder / f"{name}.png").write_bytes(png)
        (self._folder / f"{name}.pdf").write_bytes(charts.saved(made, "pdf"))


def _summary(book: _Book, read: Sequence[Finished]) -> None:
    names = list(read[0].results.splits["test"])
    header = ["run", "system", "seeds", *map(table.title, names)]
    rows = []
    for run in read:
        figures, many = run.results.splits["test"], len(run.results.seeds) > 1
        cells = [
            table.number(name, figures[name]["mean"])
            + (f" ± {table.number(name, figures[name]['std'])}" if many else "")
            for name in names
        ]
        seeds = str(len(run.results.seeds))
        rows.append([run.name, run.results.system, seeds, *cells])
    book.page.table(header, rows)
    book.page.text(
        "Mean ± standard deviation over the seeds; accuracies and F1 in %. Each seed's epoch "
        "is chosen on validation."
    )
    for run in read:
        for line in table.unread(run.results.facts, ["test"]):
            book.page.text(f"{run.name}, {line}")


def _comparison(book: _Book, read: Sequence[Finished]) -> None:
    first = read[0]
    shown = "mae" if "mae" in first.results.splits["test"] else "weighted_f1"
    values = {
        run.name: (
            run.results.splits["test"][shown]["mean"],
            run.results.splits["test"][shown]["std"],
        )
        for run in read
    }
    book.add(
        f"compare_{shown}",
        charts.bars(values, x=table.title(shown)),
        f"{table.title(shown)} on test: mean and standard deviation over the seeds",
    )
    for run in read[1:]:
        header = ["metric", first.name, run.name, "difference", "95 % interval"]
        header += ["p (rows)", "p (seeds)"]
        found = significance.compare(run.results.dataset, first.test, run.test)
        book.page.heading(f"{run.name} against {first.name}", level=3)
        book.page.table(header, [_line(row) for row in found])
    book.page.text(
        f"p (rows): paired bootstrap over the rows of test, {significance.RESAMPLES} "
        "resamples, two-sided. p (seeds): paired t-test over the seeds that both runs have, "
        "as the dagger of MSG/MBA's tables. † marks a p below 0.05."
    )


def _line(row: significance.Comparison) -> list[str]:
    def p(value: float) -> str:
        return "-" if value != value else f"{value:.3f}{' †' * (value < 0.05)}"

    numbers = (row.first, row.second, row.difference, row.low, row.high)
    first, second, difference, low, high = (
        table.number(row.metric, x) for x in numbers
    )
    return [
        *(table.title(row.metric), first, second, difference, f"{low} to {high}"),
        *(p(row.p_rows), p(row.p_seeds)),
    ]


def _run(book: _Book, run: Finished) -> None:
    for name, made, caption in _curves(run):
        book.add(f"{run.name}_{name}", made, caption)
    if run.spec.classes:
        _confusion(book, run)
    else:
        labels, preds = np.asarray(run.test.labels), run.test.mean
        for name, made, caption in (
            ("scatter", charts.scatter(labels, preds), "predictions for test"),
            (
                "calibration",
                charts.calibration(labels, preds),
                "mean label of rows with about the same prediction, ± 2 standard errors",
            ),
        ):
            seeds = "" if len(run.results.seeds) == 1 else ", mean over the seeds"
            book.add(f"{run.name}_{name}", made, caption + seeds)
    book.page.heading("Worst errors on test", level=3)
    _worst(book, run)
    for title, facts in card.sections(run).items():
        book.page.heading(title, level=3)
        book.page.items([f"{what}: {value}" for what, value in facts.items()])


def _curves(run: Finished) -> list[tuple[str, Figure, str]]:
    """The training loss of each phase, another loss each, and the last one's figure on validation."""
    plan = run.options.plan
    select = plan[-1].select
    chosen = "loss" if select in ("loss", "last") else select
    curves = [
        (
            "train_loss",
            "training loss",
            phase.name,
            f"train_loss_{i}" if i else "train_loss",
        )
        for i, phase in enumerate(plan)
    ]
    valid = f"valid_{chosen}"
    curves.append((valid, f"{_shown(chosen)} on validation", plan[-1].name, valid))
    found = []
    for key, name, phase, file in curves:
        if len(plan) > 1:
            name = f"{name}, phase {phase}"
        series = {}
        for seed, rows in run.history.items():
            of_phase = [
                (epoch, row[key])
                for epoch, row in enumerate(rows, start=1)
                if row["phase"] == phase and row.get(key) is not None
            ]
            if of_phase:
                series[f"seed {seed}"] = tuple(np.array(of_phase, float).T)
        if series:
            made = charts.lines(series, x="epoch", y=name)
            found.append((file, made, f"{name} over the epochs"))
    return found


def _shown(metric: str) -> str:
    return metric if metric == "loss" else table.title(metric)


def _confusion(book: _Book, run: Finished) -> None:
    counts = np.mean(run.results.confusion["test"], axis=0)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    made = charts.matrix(
        shares,
        rows=run.spec.classes,
        cols=run.spec.classes,
        x="predicted",
        y="true",
        limits=(0.0, 1.0),
    )
    book.add(
        f"{run.name}_confusion",
        made,
        "share of each true class (row) that is predicted as the class of the column, "
        "mean over the seeds",
    )


def _worst(book: _Book, run: Finished) -> None:
    made, classes = run.test, run.spec.classes
    labels = np.asarray(made.labels)
    if classes:
        wrong = np.mean([x.argmax(-1) != labels for x in made.seeds.values()], axis=0)
        error = wrong
        shown = [(classes[a], b) for a, b in zip(labels, made.names, strict=True)]
    else:
        error = np.abs(made.mean - labels)
        shown = [
            (f"{a:.2f}", f"{b:.2f}") for a, b in zip(labels, made.mean, strict=True)
        ]
    texts, reason = _texts(run.options.data)
    rows = [
        [
            str(made.ids[i]),
            *shown[i],
            f"{error[i]:.2f}",
            _cut(texts.get(str(made.ids[i]), "")),
        ]
        for i in np.argsort(-error, kind="stable")[:_WORST]
    ]
    what = "share of seeds that are wrong" if classes else "absolute error"
    book.page.table(["id", "label", "prediction", what, "text"], rows, texts=1)
    if reason:
        book.page.text(f"The texts are not shown: {reason}")


@functools.lru_cache(maxsize=1)  # runs that are compared have the same data
def _texts(data: DataOptions) -> tuple[Mapping[str, str], str]:
    """{id: text} of a run's data; or why there are none."""
    # The rows of other data sets are in no split that is measured.
    data = dataclasses.replace(data, also=())
    options = Options(system="text_only", data=data)
    try:
        corpus = corpora.read_corpus(options, pathlib.Path(), labels=False)
    except (ValueError, OSError) as error:
        return {}, str(error)
    splits = corpus.splits.values()
    if not any(len(split.raw_text) for split in splits):
        return {}, "the data have features alone"
    return {
        name: text
        for split in splits
        for name, text in zip(split.ids, split.raw_text, strict=False)
    }, ""


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
