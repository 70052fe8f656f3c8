"""A run: a recipe and a workdir made one."""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from rich.console import Console

from msajax import metrics, parallel, processes
from msajax.data import dialogues, loader
from msajax.data.spec import DATASETS, MODALITIES, Corpus, Spec, Split
from msajax.models.base import Model
from msajax.report import table
from msajax.report.results import ClipPrediction, Predictions, Results
from msajax.run import (
    captured,
    clip,
    corpora,
    inference,
    placed,
    pretrained,
    unread,
    workdir,
)
from msajax.run.devices import precision_of
from msajax.run.options import Options, build
from msajax.train import evaluate, feed, step
from msajax.train.checkpoint import Checkpoints

Path = str | os.PathLike[str]


@dataclasses.dataclass(frozen=True)
class Run:
    """A recipe and a workdir made one: data, system, devices and checkpoints.

    Attributes:
      options: the recipe.
      folder: the workdir.
      spec: of the data that the system is made for.
      model: the system.
      devices: those that it trains on; `parallel.to_evaluate` has those that evaluate.
      console: to print to.
      own: the corpus that it is trained on, where that is no file.
    """

    options: Options = dataclasses.field(repr=False)
    folder: pathlib.Path
    spec: Spec = dataclasses.field(repr=False)
    model: Model = dataclasses.field(repr=False)
    devices: parallel.Devices = dataclasses.field(repr=False)
    console: Console = dataclasses.field(repr=False)
    own: Corpus | None = dataclasses.field(default=None, repr=False)

    @property
    def precision(self) -> str:
        """Of the computation: the recipe's, on these devices."""
        return precision_of(self.options, self.devices)

    def say(self, text: str) -> None:
        """Prints a line as it is, however wide the terminal."""
        self.console.print(text, highlight=False, soft_wrap=True)

    def describe(self, corpus: Corpus, title: str = "data") -> None:
        """Says what was cleaned in a corpus, or is absent."""
        for note in corpus.notes:
            self.say(f"{title}: {note}")
        present = {name for split in corpus.splits.values() for name in split.arrays}
        for name, dim in zip(MODALITIES, self.spec.dims, strict=True):
            if dim > 1 and name not in present:
                self.say(f"{title}: {name} is absent; every row counts as lacking it")

    def corpus(
        self, data: Path | Corpus | None = None, *, labels: bool = True
    ) -> Corpus:
        """The corpus to evaluate or predict on; says what was cleaned or is absent.

        Args:
          data: a file or a corpus; None for the data that the run was trained on.
          labels: read them.

        Raises:
          ValueError: it cannot be read, or is no longer what the run was trained on.
        """
        corpus = corpora.read_corpus(
            self.options, self.folder, data, own=self.own, labels=labels
        )
        known = workdir.data_sha256(self.folder)  # '' where weights were imported
        if data is None and known and corpus.sha256 != known:
            raise ValueError(
                f"{self.options.data.path or 'the data'} is not what this run was trained "
                "on: its content has changed; to evaluate on it all the same, name it: --data "
                "FILE, or evaluate(split, data). Give a corpus that was trained on in memory "
                "to open_run(workdir, corpus)"
            )
        self.describe(corpus)
        return corpus

    def pad(self, split: Split) -> dict[str, np.ndarray]:
        """The arrays of a split as the system takes them: its rows, or its dialogues."""
        if self.spec.turns:
            split, note = dialogues.of_spec(split, self.spec)
            if note:
                self.say(f"data: {note}")
        return loader.pad(split, self.spec, truncate=self.options.data.truncate)

    def batch_size(self, source: feed.Source) -> int:
        """Rows of a batch in evaluation: the last phase's, or all where there are fewer."""
        return min(self.options.plan[-1].batch_size, max(source.sizes))

    def initial(self) -> dict[str, np.ndarray]:
        """The pretrained values among the system's initial parameters; says what was read."""
        values, reports = pretrained.weights(self.options, self.model)
        for report in reports:
            self.say(str(report))
        return values

    def checkpoints(self, seed: int) -> Checkpoints:
        """The checkpoints of a seed in the workdir."""
        return workdir.checkpoints(self.folder, seed, self.say)

    def evaluate(
        self, split: str = "test", data: Path | Corpus | None = None
    ) -> Results:
        """The metrics of the best checkpoints on a split.

        Args:
          split: of the data; a file without splits is taken whole.
          data: a file or a corpus with labels; None for the run's own.

        Raises:
          ValueError: the data cannot be used, or a seed is not trained to its end.
        """
        corpus = self.corpus(data)
        name, rows, left_out = corpora.labelled_split(corpus, split)
        if left_out:
            self.say(f"{name}: {left_out} rows without labels left out")
        sources = {name: placed.splits(self, [self.pad(rows)])[0]}
        self._note_batches(sources)
        made = unread.predict(self.forward, self.model, sources)
        return self.results({name: self.labelled(rows, made.preds[name])}, made.facts)

    def predict(self, data: Path | Corpus) -> Predictions:
        """Predictions for every row of a file or a corpus, labels not needed.

        Raises:
          ValueError: the data cannot be used, or a seed is not trained to its end.
        """
        if data is None:
            raise ValueError(
                "data is None; name what to predict: a file, or a corpus. For the test split "
                'of the run\'s own data: outputs("test", "pred")'
            )
        corpus = self.corpus(data, labels=False)
        arrays = [self.pad(split) for split in corpus.splits.values()]
        sources = dict(zip(corpus.splits, placed.splits(self, arrays), strict=True))
        self._note_batches(sources)
        figures = (made := unread.predict(self.forward, self.model, sources)).figures
        for method, names in self.model.reports.items():
            found = evaluate.joined(self.forward(sources, method=method))
            columns = np.mean(list(found.values()), axis=0).T
            figures |= dict(zip(names, columns, strict=True))
        ids = np.concatenate([split.ids for split in corpus.splits.values()])
        preds = evaluate.joined(made.preds)
        return Predictions(ids, preds, self.spec.classes, figures=figures)

    @functools.cached_property
    def clips(self) -> clip.Predictor:
        """What reads and scores clips; it keeps checkpoints and compiled programs."""
        return clip.Predictor(self)

    def predict_clip(
        self, path: Path, transcript: Path | None = None, **files: Any
    ) -> ClipPrediction:
        """The prediction for a video or audio file, by features as those of the training.

        Args:
          path: of the clip.
          transcript: what is said, or a .txt, .srt or .vtt file; None where it is not known.
          **files: what the features need beside the clip, see `clip_reader.Reader.read`.

        Raises:
          ValueError: the clip cannot be read, or the run says not how its features were made.
        """
        return self.clips.score([self.clips.read(path, transcript, **files)])[0]

    def outputs(
        self, split: str, name: str, data: Path | Corpus | None = None
    ) -> dict[int, np.ndarray]:
        """An array that the system gives beside its predictions, for the rows of a split.

        Args:
          split: of the data; a file without splits is taken whole.
          name: in the dict that the system returns, 'fusion', or 'weights/audio'; or of
            attention weights and gates, which modules give: 'gate/gate_audio'.
          data: a file or a corpus; None for the run's own.

        Returns:
          {seed: [N, ...]}, rows in the order of the split's ids.

        Raises:
          ValueError: no such split or array; names the nearest one. Or an array of
            dialogues that has no axis of turns.
        """
        return captured.one(self, split, name, data)

    def export(
        self,
        path: Path,
        split: str = "test",
        *,
        names: Sequence[str] = ("*",),
        data: Path | Corpus | None = None,
    ) -> list[str]:
        """Writes representations, attention weights and gates of every row of a split as an .npz.

        Args:
          path: of the file: 'id', 'label', and 'seed_1/fusion', [N, ...] float32, ...
          split: of the data; a file without splits is taken whole.
          names: of arrays, as `outputs` takes them; '*' stands for any text.
          data: a file or a corpus; None for the run's own.

        Returns:
          The names of the arrays.
        """
        return captured.write(self, pathlib.Path(path), split, names=names, data=data)

    def forward(
        self,
        splits: Mapping[str, feed.Source],
        *,
        seeds: Sequence[int] = (),
        method: str = "",
        outputs: Mapping[str, int] = {},
    ) -> dict[str, dict[int, Any]]:
        """{split: {seed: [N, ...]}} of the best checkpoints, by a new `inference.Inference`."""
        compute = inference.Inference(self)
        return compute(splits, seeds=seeds, method=method, outputs=outputs)

    def parameters(self, seed: int) -> dict[str, np.ndarray]:
        """The best parameters of a seed by their paths, adapters merged into their layers."""
        params = self._state(seed).params
        return self.model.lora.merge(params) if self.model.lora else params

    def collections(self, seed: int) -> dict[str, np.ndarray]:
        """What the system keeps beside its parameters, by paths: 'batch_stats/norm/mean'."""
        return self._state(seed).collections

    def _state(self, seed: int) -> Any:
        like = parallel.replicate(step.blank(self.model), self.devices)
        return jax.device_get(self.best(seed, like))

    def best(self, seed: int, like: Any) -> Any:
        """The state that validation chose for a seed, placed as `like`."""
        found = self.checkpoints(seed).restore(lambda _: {"best": like})
        if found is None or "best" not in found[1]:
            raise ValueError(
                f"seed {seed} has no checkpoint in {self.folder}; train it first, or "
                "choose others by config.train.seeds"
            )
        if not found[0].finished:
            raise ValueError(
                f"seed {seed} in {self.folder} is not trained to its end; run its "
                "training again, or choose others by config.train.seeds"
            )
        return found[1]["best"]

    def results(
        self, predictions: Mapping[str, Predictions], facts: Mapping[str, Any] = {}
    ) -> Results:
        """The metrics of predictions with labels, by split."""
        dataset = DATASETS[self.options.data.dataset]
        figures, confusion = {}, {}
        for name, made in predictions.items():
            labels, preds = made.labels, made.seeds.values()
            assert labels is not None
            figures[name] = table.summarise(
                [evaluate.metrics_of(dataset, pred, labels) for pred in preds]
            )
            if self.spec.classes:
                confusion[name] = [metrics.confusion(p, labels).tolist() for p in preds]
        return Results(
            self.options.system,
            self.options.data.dataset,
            tuple(next(iter(predictions.values())).seeds),
            figures,
            facts,
            self.spec.classes,
            confusion,
            predictions,
        )

    def labelled(self, split: Split, preds: Mapping[int, np.ndarray]) -> Predictions:
        """Predictions with the ids and labels of their split."""
        return Predictions(split.ids, preds, self.spec.classes, split.arrays["label"])

    def _note_batches(self, splits: Mapping[str, feed.Source]) -> None:
        """Says which splits are smaller than a batch of the recipe."""
        wanted = self.options.plan[-1].batch_size
        for name, source in splits.items():
            if (size := self.batch_size(source)) < wanted:
                self.say(
                    f"{name}: in batches of {size} rows, not {wanted}: it has no more"
                )


def make(
    options: Options,
    folder: pathlib.Path,
    spec: Spec,
    *,
    own: Corpus | None = None,
    console: Console | None = None,
) -> Run:
    """The run of a recipe in a folder: its system, on the devices of the recipe."""
    devices = parallel.find_devices(options.parallel.devices)
    console = console or Console(quiet=not processes.is_first())
    model = build(options, spec, **pretrained.configs(options, folder, spec))
    return Run(options, folder, spec, model, devices, console, own)
