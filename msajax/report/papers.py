"""Figures of the papers by name, drawn from one's own runs; README.md lists them."""

import dataclasses
import re
from collections.abc import Callable, Sequence

import numpy as np

from msajax.data.spec import MODALITIES, suggest
from msajax.report import charts, numbers
from msajax.report.finished import Finished
from msajax.report.numbers import Drawn
from msajax.run import captured
from msajax.run.run import Run

# Examples of Fig. 8, of each sentiment.
_SENTIMENTS = ("positive", "neutral", "negative")
# MFON's and MSG/MBA's three classes: of |label| up to this neutral.
_NEUTRAL = 0.5


@dataclasses.dataclass(frozen=True)
class PaperFigure:
    """A figure of a paper.

    Attributes:
      name: as `--figure` takes it.
      title: heading.
      systems: those whose runs it is drawn from; () for all.
      make: from the runs: {part: (figure, caption)}.
    """

    name: str
    title: str
    systems: tuple[str, ...]
    make: Callable[[Sequence[Finished]], Drawn]

    def draw(self, read: Sequence[Finished]) -> Drawn:
        """The figure's parts with their captions.

        Raises:
          ValueError: a run is of another system, or its data cannot be read.
        """
        wrong = [run for run in read if run.results.system not in self.systems]
        if self.systems and wrong:
            raise ValueError(
                f"--figure {self.name} is drawn from runs of {', '.join(self.systems)}, but "
                f"{wrong[0].folder} is of {wrong[0].results.system}; leave it out"
            )
        return self.make(read)


def names() -> list[str]:
    """Names of all figures."""
    return list(_FIGURES)


def find(names: Sequence[str]) -> list[PaperFigure]:
    """The figures of these names.

    Raises:
      ValueError: an unknown name.
    """
    for name in names:
        if name not in _FIGURES:
            raise ValueError(f'no figure "{name}"{suggest(name, _FIGURES)}')
    return [_FIGURES[name] for name in names]


def _mfon_4(read: Sequence[Finished]) -> Drawn:
    panels = {}
    for run in read:
        points = _vectors(run.open(), run, "vision")
        panels[run.name] = _tsne(points, 3), _sentiment(run)
    caption = (
        "t-SNE of the visual representation of each row of test, in 3-D (MFON, Fig. 4: on "
        "the left without prompts and the two losses, row none; on the right with all)"
    )
    return {"vision": (charts.embedding(panels, colour="label"), caption)}


def _msg_mba_6(read: Sequence[Finished]) -> Drawn:
    run = read[0]
    model, seed = run.open(), run.results.seeds[0]
    known = captured.known(model.model, model.precision)
    layers = {
        int(found[1]): name
        for name in known
        if (found := re.fullmatch(r"encoder/(?:.*/)?layer/(\d+)/.*attention", name))
    }
    if not layers:
        raise ValueError(
            f"--figure msg_mba_6 draws the attention of a text encoder's layers, but "
            f"{run.folder} has none; set config.text.encoder, and keep config.text.frozen=False"
        )
    rows = model.corpus().splits["test"]
    steps = model.pad(rows)["text_mask"].sum(1)
    chosen = np.flatnonzero(steps >= min(6, steps.max()))[:2]
    last = max(layers)
    found = {}
    for layer in dict.fromkeys(i for i in (1, 2, last) if i in layers):
        weights = model.outputs("test", layers[layer])[seed].mean(axis=1)
        for case, row in enumerate(chosen, 1):
            n = min(int(steps[row]), 24)
            names = [str(i + 1) for i in range(n)]
            made = charts.matrix(
                weights[row, :n, :n],
                rows=names,
                cols=names,
                x="piece attended to",
                y="piece that attends",
                title=f"layer {layer + 1}, case {case}",
            )
            text = str(rows.raw_text[row])[:120]
            caption = (
                f"Self-attention of layer {layer + 1} of {last + 1} of the text's encoder, "
                f"mean over the heads (MSG/MBA, Fig. 6), seed {seed}: {rows.ids[row]}, {text!r}"
            )
            found[f"layer{layer + 1}_case{case}"] = made, caption
    return found


def _msg_mba_7(read: Sequence[Finished]) -> Drawn:
    found = {}
    runs = {run.name: (run.open(), run) for run in read}
    for modality in MODALITIES:
        panels = {
            name: (_tsne(_vectors(opened_run, run, modality), 2), _sentiment(run))
            for name, (opened_run, run) in runs.items()
        }
        caption = (
            f"t-SNE of {modality}, the mean of its steps in each row of test (MSG/MBA, Fig. "
            "7: with and without MSG)"
        )
        found[modality] = charts.embedding(panels, colour="label"), caption
    return found


def _msg_mba_8(read: Sequence[Finished]) -> Drawn:
    run = read[0]
    model, seed = run.open(), run.results.seeds[0]
    labels, found = np.array(_sentiment(run)), {}
    steps = model.outputs("test", "masks/text")[seed] > 0
    for modality in ("audio", "vision"):
        weights = model.outputs("test", f"weights/{modality}")[seed]
        for sentiment in _SENTIMENTS:
            # The first of at least four words: of few there is nothing to see.
            rows = np.flatnonzero((labels == sentiment) & (steps.sum(1) >= 4))
            if not len(rows):
                continue
            real = np.flatnonzero(steps[rows[0]])[:24]
            names = [str(i + 1) for i in real]
            made = charts.matrix(
                weights[rows[0]][np.ix_(real, real)],
                rows=names,
                cols=names,
                x=f"step of {modality}",
                y="step of the text",
                title=f"{sentiment}: {run.test.ids[rows[0]]}",
            )
            caption = f"p_att of text and {modality} (MSG/MBA, Fig. 8), seed {seed}"
            found[f"{modality}_{sentiment}"] = made, caption
    return found


def _msg_mba_9(read: Sequence[Finished]) -> Drawn:
    valid = read[0].results.splits["valid"]
    # Of MOSI and MOSEI, of classes, of CH-SIMS.
    key = next(k for k in ("f1_non0", "weighted_f1", "f1") if k in valid)
    series = {}
    for run in read:
        rows = [
            [
                np.nan if (f1 := row.get(f"valid_{key}")) is None else 100 * f1
                for row in history
            ]
            for history in run.history.values()
        ]
        epochs = min(map(len, rows), default=0)
        if epochs:
            mean = np.mean([row[:epochs] for row in rows], axis=0)
            series[run.name] = np.arange(1, epochs + 1), mean
    if not series:
        raise ValueError(f"{read[0].folder} has no epochs: its weights were imported")
    made = charts.lines(series, x="epoch", y="F1 on validation (%)")
    caption = "F1 on validation over the epochs, mean over the seeds (MSG/MBA, Fig. 9)"
    return {"f1": (made, caption)}


_FIGURES = {
    figure.name: figure
    for figure in (
        PaperFigure("mfon_4", "MFON, Fig. 4", ("mfon",), _mfon_4),
        PaperFigure("mfon_1", "MFON, Fig. 1", (), numbers.mfon_1),
        PaperFigure("iml_cmm_6", "IML-CMM, Fig. 6", ("iml_cmm",), numbers.iml_cmm_6),
        PaperFigure("msg_mba_6", "MSG/MBA, Fig. 6", (), _msg_mba_6),
        PaperFigure("msg_mba_7", "MSG/MBA, Fig. 7", ("msg_mba",), _msg_mba_7),
        PaperFigure("msg_mba_8", "MSG/MBA, Fig. 8", ("msg_mba",), _msg_mba_8),
        PaperFigure("msg_mba_9", "MSG/MBA, Fig. 9", (), _msg_mba_9),
        PaperFigure("losses", "Losses and time", (), numbers.losses_and_times),
        PaperFigure("missing", "Missing modalities", (), numbers.missing),
        PaperFigure("noise", "Noise", (), numbers.noise),
    )
}


def _vectors(model: Run, run: Finished, modality: str) -> np.ndarray:
    """A vector of each row of test, by the first seed: of a sequence the mean of its real steps."""
    seed = run.results.seeds[0]
    x = model.outputs("test", modality)[seed]
    if x.ndim == 2:
        return x
    mask = model.outputs("test", f"masks/{modality}")[seed][..., None]
    return (x * mask).sum(1) / np.maximum(mask.sum(1), 1)


def _sentiment(run: Finished) -> list[str]:
    """The group of each row of test: its class, or negative, neutral or positive."""
    labels = np.asarray(run.test.labels)
    if run.spec.classes:
        return [run.spec.classes[i] for i in labels]
    places = 1 + (labels > _NEUTRAL).astype(int) - (labels < -_NEUTRAL)
    return [_SENTIMENTS[::-1][i] for i in places]


def _tsne(points: np.ndarray, dims: int) -> np.ndarray:
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(points) - 1) / 3)
    made = TSNE(dims, perplexity=perplexity, init="pca", random_state=0)
    return made.fit_transform(points.astype(np.float64))
