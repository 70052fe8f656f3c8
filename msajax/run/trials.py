"""Trials of a search: recipes that differ in some options, trained and judged without the test split.

Trials that differ only in options that a compiled step takes as arrays (`train/varied.py`)
train at once, like the seeds of a run. The folder of a trial is that of a run, so that
the recipe's own training command resumes it, and measures it.
"""

import contextlib
import dataclasses
import gc
import json
import pathlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from msajax.data.spec import Corpus
from msajax.run import (
    corpora,
    init_from,
    model_options,
    placed,
    pretrained,
    saved,
    workdir,
)
from msajax.run.options import Options
from msajax.run.run import Run, make
from msajax.run.training import Trainer
from msajax.train import fit, log, step, varied
from msajax.train.plan import Book, Phase

# Programs of so many different networks are kept; each holds the data on the devices.
_KEPT = 4
# The rows that a trial sees.
_SPLITS = ("train", "valid")


@dataclasses.dataclass(frozen=True)
class Trial:
    """A recipe to be judged.

    Attributes:
      number: in its study.
      folder: of its run, which is held for this process.
      options: the recipe; its seeds are those of the trial.
    """

    number: int
    folder: pathlib.Path
    options: Options


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a trial.

    Attributes:
      value: mean over the seeds of the figure that chose their checkpoints; None where a
        seed had no finite one.
      epochs: of each seed.
      seconds: of work on all seeds.
      stopped: why a seed ended early, '' where none did.
    """

    value: float | None
    epochs: tuple[int, ...]
    seconds: float
    stopped: str


@dataclasses.dataclass(frozen=True)
class _Made:
    """What trials of one network share."""

    run: Run
    trainer: Trainer
    data: fit.Data
    corpus: Corpus
    hashes: Mapping[str, str]


class Trials:
    """Trains the trials of a search; compiled programs and data are kept from one to the next.

    Args:
      home: folder of the search.
      keys: the options that are searched over continuous ranges.
      check_data: is told the hash of the data before it is trained on.
      console: to print to.
    """

    def __init__(
        self,
        home: pathlib.Path,
        keys: Collection[str],
        *,
        check_data: Callable[[str], None],
        console: Console,
    ):
        self._home, self._keys = home, keys
        self._check_data, self._console = check_data, console
        self._made: dict[str, _Made] = {}
        self._known: dict[str, tuple[str, ...]] = {}
        self._read: tuple[Any, Any] = (None, None)

    def network(self, options: Options) -> str:
        """A text that is the same for trials that one program can train.

        Raises:
          ValueError: the recipe or its data cannot be used.
        """
        return _without(options, self._arrays(options))

    def train(
        self,
        trials: Sequence[Trial],
        *,
        stop: Callable[[], bool],
        watch: Callable[[int, int, float], str],
    ) -> list[Outcome] | None:
        """Trains a group to its end, each trial from its last checkpoint where it has one.

        Args:
          trials: with the same `network`.
          stop: asked between two steps: whether to save and return.
          watch: is told (trial, epoch, figure) after each epoch of the last phase, the mean
            over the seeds; why the trial is to be ended, '' if it is not.

        Returns:
          An outcome each; None where it was stopped.

        Raises:
          ValueError: the recipe or its data cannot be used.
        """
        made = self._prepared(trials[0].options)
        for trial in trials:
            self._claim(trial, made)
        lanes = [(trial, s) for trial in trials for s in trial.options.train.seeds]
        folders = {
            f"{seed} of trial {trial.number}": trial.folder / f"seed_{seed}"
            for trial, seed in lanes
        }
        options = made.run.options
        with contextlib.closing(
            log.Log(folders, title=options.system, console=self._console)
        ) as lines:
            books = fit.fit(
                made.run.model,
                made.trainer.programs(len(lanes)),
                made.data,
                seeds=[seed for _, seed in lanes],
                initial=[made.trainer.start(seed) for _, seed in lanes],
                cycles=options.cycles,
                checkpoints=[
                    workdir.checkpoints(trial.folder, seed, made.run.say)
                    for trial, seed in lanes
                ],
                save_seconds=options.checkpoint.seconds,
                log=lines,
                interrupted=stop,
                values={
                    key: np.array([value(trial.options, key) for trial, _ in lanes])
                    for key in self._arrays(options)
                },
                prune=_Pruning(lanes, options.plan[-1], watch),
            )
        if not all(book.finished for book in books):
            return None
        own = iter(books)
        return [_outcome([next(own) for _ in t.options.train.seeds]) for t in trials]

    def _claim(self, trial: Trial, made: _Made) -> None:
        """Saves what the run of a trial is."""
        options = workdir.claim(
            trial.folder,
            trial.options,
            made.run.spec,
            made.corpus.sha256,
            made.hashes,
        )
        pretrained.keep(options, trial.folder, made.corpus.vocabulary)

    def _arrays(self, options: Options) -> tuple[str, ...]:
        """The options that a step takes as arrays, in a recipe like this one."""
        like = _without(options, self._keys)
        if like not in self._known:
            run = self._run(options)
            self._known[like] = tuple(key for key in self._keys if _is_array(run, key))
        return self._known[like]

    def _prepared(self, options: Options) -> _Made:
        """Network, data and programs for a recipe; those of earlier trials where they fit."""
        network = self.network(options)
        if network not in self._made:
            if len(self._made) == _KEPT:
                self._made.clear()  # the system allows a process so many programs
                jax.clear_caches()
                gc.collect()
            init_from.check(options)
            corpus, others, hashes = self._corpora(options)
            run = self._run(options)
            seen = {name: corpus.splits[name] for name in _SPLITS}
            data = placed.training(
                run, dataclasses.replace(corpus, splits=seen), others
            )
            seeds = len(options.train.seeds)
            trainer = Trainer(run, data, at_once=seeds, varies=self._arrays(options))
            self._made[network] = _Made(run, trainer, data, corpus, hashes)
        return self._made[network]

    def _run(self, options: Options) -> Run:
        """In the folder of the search, which holds no checkpoint to start from."""
        corpus, _, _ = self._corpora(options)
        spec = corpora.make_spec(options, corpus)
        return make(options, self._home, spec, console=self._console)

    def _corpora(
        self, options: Options
    ) -> tuple[Corpus, dict[str, Corpus], dict[str, str]]:
        """The corpus, those of phases, and hashes of the other files; read again where their options differ."""
        files = [phase.data for phase in options.plan]
        parts = (options.system, options.data, options.text, options.audio, files)
        if parts != self._read[0]:
            corpus, hashes = corpora.training_corpus(options, self._home)
            others = corpora.phase_corpora(options, self._home, corpus.vocabulary)
            hashes |= {name: other.sha256 for name, other in others.items()}
            self._check_data(corpus.sha256)
            self._read = parts, (corpus, others, hashes)
        return self._read[1]


class _Pruning:
    """Tells a watcher the figures of each trial's epochs, and ends all seeds of a trial that it gives up."""

    def __init__(
        self,
        lanes: Sequence[tuple[Trial, int]],
        phase: Phase,
        watch: Callable[[int, int, float], str],
    ):
        self._trials = [trial.number for trial, _ in lanes]
        self._counts = {n: self._trials.count(n) for n in self._trials}
        self._phase, self._watch = phase, watch
        self._books: dict[int, Book] = {}
        self._told = dict.fromkeys(self._trials, 0)
        self._reasons = dict.fromkeys(self._trials, "")

    def __call__(self, lane: int, book: Book) -> str:
        """Why the seed is to stop; '' if it is not."""
        number = self._trials[lane]
        self._books[lane] = book
        rows = [
            self._figures(b)
            for i, b in self._books.items()
            if self._trials[i] == number
        ]
        if len(rows) == self._counts[number]:
            means = np.mean(list(zip(*rows, strict=False)), axis=-1)
            for epoch in range(self._told[number], len(means)):
                told = self._watch(number, epoch, float(means[epoch]))
                self._reasons[number] = self._reasons[number] or told
            self._told[number] = len(means)
        return self._reasons[number]

    def _figures(self, book: Book) -> list[float]:
        """What is compared of each epoch of the last phase."""
        select = "loss" if self._phase.select == "last" else self._phase.select
        own = [row for row in book.history if row["phase"] == self._phase.name]
        return [row[f"valid_{select}"] for row in own]


def value(options: Options, key: str) -> Any:
    """The value of an option by its key, the system's default where a recipe is silent."""
    section, _, name = key.rpartition(".")
    if section == "model":
        defaults = model_options.fields(options.system)
        return options.model.get(name, defaults[name][1])
    return getattr(getattr(options, section) if section else options, name)


def _without(options: Options, keys: Collection[str]) -> str:
    """The options as text, some of them left out."""
    flat = saved.to_dict(options)
    for key in keys:
        section, _, name = key.partition(".")
        flat[section] = {**flat[section], name: None}
    return json.dumps(flat, sort_keys=True)


def _is_array(run: Run, key: str) -> bool:
    """Whether a compiled step can take an option as an array.

    Numbers of the system it can where the code only computes with them: it is traced to
    see. bfloat16 products of an array would be float32.
    """
    if key in varied.OPTIMIZER:
        return True
    if not key.startswith("model.") or run.precision != "float32":
        return False
    batch = run.spec.example(2)
    progress = dict.fromkeys(("epoch", "step", "fraction", "lr_scale"), jnp.zeros(()))

    def losses(number: jax.Array) -> list[Any]:
        system = varied.model(run.model, {key: number})
        state = step.draw(run.model, jax.random.key(0), {key: number})
        rest = step.variables(state._replace(params={}))

        def loss(params: Any, phase: Phase, train: bool) -> jax.Array:
            made = system.apply(
                {**rest, **step.variables(state._replace(params=params))},
                batch,
                train=train,
                progress=progress,
                method=phase.loss,
                mutable=list(rest),
                rngs={"params": jax.random.key(0), "dropout": jax.random.key(0)},
            )
            return made[0][0]

        phases = [(p, train) for p in run.options.plan for train in (True, False)]
        return [jax.grad(loss)(state.params, p, train) for p, train in phases]

    try:
        jax.eval_shape(losses, jnp.zeros(()))
    except Exception:  # whatever code raises that needs the number itself
        return False
    return True


def _outcome(books: Sequence[Book]) -> Outcome:
    """What the books of a trial's seeds say."""
    best = [book.best for book in books if book.best is not None]
    reasons = [book.stopped for book in books if book.stopped]
    return Outcome(
        float(np.mean(best)) if len(best) == len(books) else None,
        tuple(len(book.history) for book in books),
        sum(book.seconds for book in books),
        reasons[0] if reasons else "",
    )
