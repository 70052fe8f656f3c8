"""A clip to its score: the features of a run's training, its transcript as the run reads text, its checkpoints."""

import functools
import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from msajax import metrics
from msajax.data import clean, loader
from msajax.data.spec import DATASETS, MODALITIES, Corpus, Split
from msajax.encoders.frozen import Features
from msajax.report.results import ClipPrediction
from msajax.run import corpora, inference, text, unread
from msajax.run.clip_reader import SENSES, Reader, Sample
from msajax.train import feed

if TYPE_CHECKING:
    from msajax.run.run import Run


class Predictor(Reader):
    """Reads clips as the data of a run was read, and scores them by its checkpoints.

    Args:
      run: trained.

    Raises:
      ValueError: the run says not how its features were made, or reads what no clip has.
    """

    def __init__(self, run: "Run"):
        super().__init__(run)
        self._encoder = functools.cache(self._load_encoder)
        self._blank = functools.cache(self._make_blank)
        self._infer = inference.Inference(run, keep=True)

    def score(self, samples: Sequence[Sample]) -> list[ClipPrediction]:
        """The predictions of clips, whose text is tokenized and scored together."""
        start = time.perf_counter()
        corpus = self._corpus(samples)
        arrays = self._run.pad(corpus.splits["all"])
        blank = self._blank() if "text" in self._reads[:-1] else {}
        times = {"text": time.perf_counter() - start}
        start = time.perf_counter()
        self._infer.restore()
        times["load"] = time.perf_counter() - start
        start = time.perf_counter()
        scores, figures = self._compute(_with_removed(arrays, self._reads, blank))
        times["score"] = time.perf_counter() - start
        times = {stage: seconds / len(samples) for stage, seconds in times.items()}
        return [
            self._prediction(
                sample,
                {seed: x[:, i] for seed, x in scores.items()},
                {column: float(x[i]) for column, x in figures.items()},
                times | {"text": times["text"] + sample.seconds},
                corpus.notes if len(samples) == 1 and sample.text else (),
            )
            for i, sample in enumerate(samples)
        ]

    def _corpus(self, samples: Sequence[Sample]) -> Corpus:
        """Clips as the reader of a file returns its rows, then cleaned and tokenized."""
        spec, arrays = self._run.spec, {}
        for m in SENSES:
            found = [getattr(sample.features, m) for sample in samples]
            if m not in self._reads or not any(x.size for x in found):
                continue
            place = MODALITIES.index(m)
            shape = (len(samples), spec.lengths[place], spec.dims[place])
            arrays[m] = np.zeros(shape, np.float32)
            for row, values in zip(arrays[m], found, strict=True):
                row[: len(values)] = values if values.size else 0
            arrays[f"{m}_length"] = np.array([len(x) for x in found])
        ids = np.array([f"{i}" for i in range(len(samples))])
        texts = np.array([sample.text for sample in samples], str)
        rows = Corpus(
            self._run.options.data.dataset, {"all": Split(ids, texts, arrays)}
        )
        run, encoder = self._run, self._encoder()
        return corpora.read_corpus(
            run.options,
            run.folder,
            clean.clean(rows),
            labels=False,
            encoder=encoder,
            heard=True,
        )

    def _load_encoder(self) -> Features | None:
        """The run's frozen encoder; None where it has none."""
        run, reading = self._run, self._run.options.text
        if reading.encoder and reading.frozen:
            return text.frozen_encoder(run.options, run.folder)
        return None

    def _make_blank(self) -> dict[str, np.ndarray]:
        """The text fields of a row without a transcript, as the training had them."""
        run = self._run
        row = corpora.wordless(run.options, run.folder, encoder=self._encoder())
        arrays = run.pad(row)
        return {k: x for k, x in arrays.items() if k.split("_")[0] == "text"}

    def _compute(
        self, arrays: dict[str, np.ndarray]
    ) -> tuple[dict[int, np.ndarray], dict[str, np.ndarray]]:
        """Of each seed the predictions [1 + modalities, N, ...], and the system's figures [N]."""
        run = self._run
        # Always whole, so that clips of all lengths run the same program.
        parts = loader.parts(arrays, 1, cut=False)
        source = {"": feed.source(parts, run.devices, resident=True)}
        rows = len(parts[0]["index"]) // (1 + len(self._reads))
        made = unread.predict(self._infer, run.model, source)
        scores = {
            seed: x.reshape(-1, rows, *x.shape[1:])
            for seed, x in made.preds[""].items()
        }
        figures = {name: x[:rows] for name, x in made.figures.items()}
        for method, names in run.model.reports.items():
            found = self._infer(source, method=method)[""].values()
            mean = np.mean(list(found), axis=0)[:rows]
            figures |= {name: mean[:, i] for i, name in enumerate(names)}
        return scores, figures

    def _prediction(
        self,
        sample: Sample,
        scores: dict[int, np.ndarray],
        figures: dict[str, float],
        seconds: dict[str, float],
        notes: tuple[str, ...],
    ) -> ClipPrediction:
        """Of scores [1 + modalities] or [1 + modalities, C] of each seed: the whole clip's first."""
        mean, spec = np.mean(list(scores.values()), axis=0), self._run.spec
        probabilities, low, high = {}, *(spec.label_range or (0.0, 1.0))
        if spec.classes:
            best = int(mean[0].argmax())
            # A system that writes labels gives no logits: 1 for its class, 0 for the others.
            shares = (lambda x: x) if self._run.model.unread else _softmax
            probabilities = dict(
                zip(spec.classes, shares(mean)[0].tolist(), strict=True)
            )
            label, mean = spec.classes[best], shares(mean)[:, best]
            scores = {seed: shares(x)[:, best] for seed, x in scores.items()}
        elif not math.isfinite(mean[0]):
            label = "none"
        else:
            family = DATASETS[self._run.options.data.dataset].metrics
            label = metrics.polarity(family, float(mean[0]))
        present = self.present(sample)
        without = zip(self._reads, mean[1:].tolist(), strict=True)
        if lost := figures.get("unread"):
            why = f"what the system wrote is no label, for {lost:.0%} of the seeds"
            notes = (*notes, f"{why}: the score of those is a substitute")
        if not math.isfinite(mean[0]):
            notes = (*notes, "the prediction is no number: the training diverged")
        return ClipPrediction(
            id=sample.id,
            score=float(mean[0]),
            scale=(low, high),
            label=label,
            seeds={seed: float(x[0]) for seed, x in scores.items()},
            probabilities=probabilities,
            without={m: x for m, x in without if m in present and len(present) > 1},
            figures=figures,
            seconds={**sample.features.seconds, **seconds},
            transcript=sample.text,
            notes=(*sample.features.notes, *sample.notes, *notes),
            audio=sample.features.audio,
            vision=sample.features.vision,
        )


def _with_removed(
    arrays: dict[str, np.ndarray],
    modalities: Sequence[str],
    blank: dict[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """The rows [N, ...], then the rows without each of the modalities: [N + N * modalities, ...]."""
    found = {}
    for key, x in arrays.items():
        own = key.split("_")[0]
        empty = np.broadcast_to(blank.get(key, np.zeros_like(x[:1])), x.shape)
        rows = [x, *(empty if own == m else x for m in modalities)]
        found[key] = np.concatenate(rows)
    return found


def _softmax(logits: np.ndarray) -> np.ndarray:
    shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shares / shares.sum(axis=-1, keepdims=True)
