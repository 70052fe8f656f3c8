"""A clip to its score: the features of a run's training, its transcript as the run reads text, its checkpoints."""

import dataclasses
import functools
import math
import os
import pathlib
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from msajax import metrics
from msajax.data import clean, loader
from msajax.data.spec import DATASETS, MODALITIES, Corpus, Split
from msajax.media import audio, clips, files, openface, settings, transcript, words
from msajax.media.settings import MediaFeatures
from msajax.report.results import ClipPrediction
from msajax.run import corpora, features, inference, unread
from msajax.train import feed

if TYPE_CHECKING:
    from msajax.media.network import PictureNetwork
    from msajax.run.run import Run

Path = str | os.PathLike[str]
_SENSES = ("audio", "vision")


class Sample(NamedTuple):
    """What is read of a clip.

    Attributes:
      id: of the clip.
      features: of its audio and vision.
      text: its transcript; '' where there is none.
      notes: beside those of the features.
      seconds: that the transcript took.
    """

    id: str
    features: clips.Clip
    text: str = ""
    notes: tuple[str, ...] = ()
    seconds: float = 0.0


class Predictor:
    """Reads clips as the data of a run was read, and scores them by its checkpoints.

    Args:
      run: trained.

    Raises:
      ValueError: the run says not how its features were made, or reads what no clip has.
    """

    def __init__(self, run: "Run"):
        self._run, self._reads = run, run.spec.modalities
        self.settings = _settings(run)
        self._network = functools.cache(self._make_network)
        self._blank = functools.cache(self._make_blank)
        self._infer = inference.Inference(run, keep=True)

    def read(
        self,
        path: Path,
        said: Path | None = None,
        *,
        weights: Path | None = None,
        vision_file: Path | None = None,
        word_times: Path | None = None,
        name: str = "",
        longest: float = audio.LONGEST,
    ) -> Sample:
        """The features and the words of a clip.

        Args:
          path: video or audio file.
          said: the transcript, or a .txt, .srt or .vtt file; None where it is not known.
          weights: of the network of pictures, for such features.
          vision_file: OpenFace's rows or your own features, for such features.
          word_times: a csv of words and their times, for features per word.
          name: of the clip; its path, where it is not given.
          longest: seconds that the clip may take.

        Raises:
          ValueError: the clip cannot be read, lacks what the features need, or has
            nothing that the run reads.
        """
        path, vision = files.check(path), self.settings.vision
        kind = vision.kind if vision else "none"
        _need("weights", weights, kind == "resnet50", f"the vision features {kind}")
        known = kind in openface.SUFFIXES
        _need("vision_file", vision_file, known, f"the vision features {kind}")
        per_word = self.settings.per_word
        _need("word_times", word_times, per_word, "the features of this run")
        start, notes, text = time.perf_counter(), [], ""
        if said is not None:
            text = transcript.read(said)
            if "text" not in self._reads:
                notes.append("the run reads no text: the transcript is not used")
        elif "text" in self._reads:
            notes.append("no transcript: the text is missing")
        seconds = time.perf_counter() - start
        found = clips.extract(
            *(path, self.settings),
            network=self._network(pathlib.Path(weights)) if weights else None,
            vision_file=vision_file,
            word_times=words.read(word_times) if word_times else (),
            longest=longest,
        )
        found, cut = self._fitted(found, path)
        sample = Sample(name or str(path), found, text, (*notes, *cut), seconds)
        if not self._present(sample):
            raise ValueError(
                f"{path}: there is nothing to score: the run reads "
                f"{', '.join(self._reads)}, and the clip has none of them; give a transcript"
            )
        return sample

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

    def _fitted(
        self, found: clips.Clip, path: pathlib.Path
    ) -> tuple[clips.Clip, list[str]]:
        """Features of the training's width, cut and standardized as the training data was."""
        notes, spec = [], self._run.spec
        for m in _SENSES:
            values, place = getattr(found, m), MODALITIES.index(m)
            if not values.size:
                continue
            width, length = spec.dims[place], spec.lengths[place]
            if values.shape[1] != width:
                what = settings.describe(getattr(self.settings, m))
                raise ValueError(
                    f"{path}: the {m} has {values.shape[1]} features per step, but the run "
                    f"was trained on {width}: {what}; extract them as those of the training"
                )
            if len(values) > length:
                notes.append(
                    f"the {m} is cut from {len(values)} to the {length} steps of the training"
                )
            values = values[:length]
            if m in self.settings.standard:
                values = self.settings.standard[m](values)
            found = found._replace(**{m: values})
        return found, notes

    def _present(self, sample: Sample) -> list[str]:
        """The modalities that the run reads and the clip has."""
        has = {"text": bool(sample.text)}
        has |= {m: bool(getattr(sample.features, m).any()) for m in _SENSES}
        return [m for m in self._reads if has[m]]

    def _corpus(self, samples: Sequence[Sample]) -> Corpus:
        """Clips as the reader of a file returns its rows, then cleaned and tokenized."""
        spec, arrays = self._run.spec, {}
        for m in _SENSES:
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
        run = self._run
        return corpora.read_corpus(
            run.options, run.folder, clean.clean(rows), labels=False
        )

    def _make_blank(self) -> dict[str, np.ndarray]:
        """The text fields of a row without a transcript, as the training had them."""
        sound, pictures = (np.ones((1, d), np.float32) for d in self._run.spec.dims[1:])
        corpus = self._corpus([Sample("", clips.Clip(sound, pictures))])
        arrays = self._run.pad(corpus.splits["all"])
        return {k: x for k, x in arrays.items() if k.split("_")[0] == "text"}

    def _make_network(self, path: pathlib.Path) -> "PictureNetwork":
        from msajax.media.network import PictureNetwork

        network, vision = PictureNetwork(path), self.settings.vision
        assert vision is not None
        given = dataclasses.replace(vision, weights=network.fingerprint)
        settings.check_same(
            self.settings, dataclasses.replace(self.settings, vision=given)
        )
        return network

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
        present = self._present(sample)
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


def _settings(run: "Run") -> MediaFeatures:
    """The settings of the features that a run reads.

    Raises:
      ValueError: they are not known, or the run reads what no clip has.
    """
    spec, text = run.spec, run.options.text
    if spec.turns:
        raise ValueError(
            f"{run.options.system} scores the utterances of a dialogue together; give a "
            "file of dialogues: predict, --data FILE"
        )
    if "text" in spec.modalities and not (text.vocabulary or text.encoder):
        raise ValueError(
            "the run reads text features of its data file, which no transcript has; train "
            "with config.text.vocabulary=True, or name an encoder (config.text.encoder)"
        )
    found = features.read(run.folder) or MediaFeatures()
    for m in _SENSES:
        if m not in spec.modalities:
            found = dataclasses.replace(found, **{m: None})
        elif getattr(found, m) is None:
            raise ValueError(
                f"{run.folder} does not record how the {m} features of its data were extracted "
                f"({features.FILE}); extract features by tools/extract_features.py and train "
                "on those, or extract the clip's as the data's were and give a file: "
                "predict, --data FILE"
            )
    return found


def _need(name: str, given: object, wanted: bool, what: str) -> None:
    if (given is not None) != wanted:
        needs = "need" if wanted else "do not read"
        end = f"; give its path: {name}=" if wanted else "; leave it out"
        raise ValueError(f"{what} {needs} {name}{end}")


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
