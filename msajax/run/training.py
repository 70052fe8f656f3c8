"""Training of a run: every seed that is not finished, then the results of all."""

import contextlib
import dataclasses
import functools
import pathlib
import statistics
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import numpy as np
from rich.console import Console

import msajax
from msajax import parallel, processes
from msajax.data.spec import Corpus
from msajax.encoders.lora import is_adapter
from msajax.report.results import Results
from msajax.run import (
    corpora,
    devices,
    features,
    inference,
    init_from,
    placed,
    pretrained,
    saved,
    unread,
    workdir,
)
from msajax.run.options import Options
from msajax.run.run import Run, make
from msajax.train import fit, log, memory, step
from msajax.train.plan import Book


@contextlib.contextmanager
def at_work(options: Options, folder: pathlib.Path) -> Iterator[Options]:
    """Joins the run's processes, and holds its folder for them.

    Args:
      options: the recipe.
      folder: of the run; created where it is missing.

    Yields:
      The options without the processes' addresses.

    Raises:
      ValueError: another run is at work there, or a process cannot be joined.
    """
    devices.set_up(options)
    with contextlib.ExitStack() as stack:
        options = stack.enter_context(devices.joined(options))
        if processes.is_first():
            stack.enter_context(workdir.locked(folder))
            workdir.clean(folder)
        yield options


def train(
    options: Options,
    folder: pathlib.Path,
    *,
    own: Corpus | None = None,
    stop: Callable[[], bool] = lambda: False,
    console: Console | None = None,
) -> tuple[Run, Results | None]:
    """Trains a recipe in a folder that is held, from where an earlier call stopped.

    Args:
      options: the recipe.
      folder: of the run.
      own: the corpus to train on, in place of the recipe's file.
      stop: asked between two steps: whether to save and return.
      console: to print to; the terminal, where it is not given.

    Returns:
      The run, whose options hold the seeds of all calls, and its results; None where it
      was stopped.

    Raises:
      ValueError: the recipe or its data cannot be used, or the folder holds another run.
    """
    init_from.check(options)
    run, corpus, data, hashes = _read(options, folder, own, console)
    trainer = Trainer(run, data, at_once=seeds_at_once(run))
    # Claim the folder only once the recipe is known to run.
    with processes.first_alone("claim"):
        options = workdir.claim(
            folder,
            options,
            run.spec,
            corpus.sha256,
            hashes,
            write_files=processes.is_first(),
        )
        pretrained.keep(options, folder, corpus.vocabulary)
        features.keep(folder, corpus)
    run = dataclasses.replace(run, options=options)
    books = trainer.train(options.train.seeds, stop)
    if books is None:
        return run, None
    return run, _results(run, data, books, corpus, trainer)


def _read(
    options: Options,
    folder: pathlib.Path,
    own: Corpus | None,
    console: Console | None,
) -> tuple[Run, Corpus, fit.Data, dict[str, str]]:
    """The run with its corpus on the devices, and the hashes of other files that it reads."""
    with processes.first_alone("data"):  # it may convert them for all
        corpus, hashes = corpora.training_corpus(options, folder, own)
        others = corpora.phase_corpora(options, folder, corpus.vocabulary)
    hashes |= {name: other.sha256 for name, other in others.items()}
    processes.check_same("the recipe", saved.to_json(options))
    processes.check_same("the data files", f"{corpus.sha256} {hashes}")
    spec = corpora.make_spec(options, corpus)
    run = make(options, folder, spec, own=own, console=console)
    run.describe(corpus)
    for note in run.model.notes:
        run.say(f"{options.system}: {note}")
    return run, corpus, placed.training(run, corpus, others), hashes


class Trainer:
    """Compiled programs and initial values of a run's seeds; all that can be wrong is found when it is built.

    Args:
      run: of the recipe.
      data: its rows.
      at_once: how many seeds one program trains.
      varies: keys of the values that trainings at once bring along (`train/varied.py`).

    Attributes:
      last: the last phase's program.
    """

    def __init__(
        self, run: Run, data: fit.Data, *, at_once: int, varies: Collection[str] = ()
    ):
        self._run, self._data, self._varies = run, data, varies
        self._at_once, seeds = at_once, run.options.train.seeds
        self.programs = functools.cache(self._make_programs)
        programs = self.programs(min(self._at_once, len(seeds)))
        self.last = programs[-1]
        self._pretrained = run.initial()
        self._taken = functools.cache(functools.partial(init_from.arrays, run))
        self._trained = {path for program in programs for path in program.paths}
        for seed in seeds:
            self._check_drawn(seed)

    def train(
        self, seeds: Sequence[int], stop: Callable[[], bool]
    ) -> dict[int, Book] | None:
        """The books of all seeds at their ends; None where it was stopped before."""
        books = self._finished(seeds)
        left = [seed for seed in seeds if seed not in books]
        for i in range(0, len(left), self._at_once):
            group = left[i : i + self._at_once]
            books |= dict(zip(group, self._fit(group, stop), strict=True))
            if any(processes.agree(stop())):
                return None
        return {seed: books[seed] for seed in seeds}

    def parameters(self) -> dict[str, int]:
        """How many parameters any phase trains, and how many none does."""
        counts = {"trained": 0, "frozen": 0}
        for path, leaf in step.shapes(self._run.model).params.items():
            counts["trained" if path in self._trained else "frozen"] += leaf.size
        return counts

    def _check_drawn(self, seed: int) -> None:
        """Refuses parameters of the encoder that a seed would draw at random and not train."""
        run, given = self._run, self._pretrained.keys() | self._taken(seed).keys()
        if not self._pretrained or run.checkpoints(seed).numbers():
            return
        left = [
            k
            for k in step.shapes(run.model).params
            if k.startswith("encoder/") and not is_adapter(k)
            if k not in given and k not in self._trained
        ]
        if left:
            more = f" and {len(left) - 1} more" if len(left) > 1 else ""
            raise ValueError(
                f"{left[0]}{more} would stay random: neither the weights of the encoder nor "
                "another run gives a value, and no phase trains it; change "
                "config.optimizer.groups or config.phases so that one does, or set "
                "config.text.reinit_layers to 0 where it is not"
            )

    def _make_programs(self, seeds: int) -> list[fit.Program]:
        """The phases of the recipe, for so many seeds at once."""
        options = self._run.options
        own = [changes.get("optimizer", {}) for changes in options.phases or ({},)]
        return [
            fit.Program(
                self._run.model,
                phase,
                self._data.dataset,
                self._data.of(phase),
                cycles=options.cycles,
                seeds=seeds,
                precision=self._run.precision,
                # A phase keeps what it sets for itself.
                varies=[
                    k for k in self._varies if k.removeprefix("optimizer.") not in kept
                ],
            )
            for phase, kept in zip(options.plan, own, strict=True)
        ]

    def start(self, seed: int) -> dict[str, np.ndarray]:
        """The arrays of a seed that do not start as the system draws them, by their paths."""
        return self._pretrained | self._taken(seed)

    def _finished(self, seeds: Sequence[int]) -> dict[int, Book]:
        """The books of the seeds that are trained to their end."""
        books = {}
        for seed in seeds:
            found = self._run.checkpoints(seed).restore(lambda _: {})
            if found and found[0].finished:
                books[seed] = found[0]
                with contextlib.closing(_log(self._run, [seed])) as lines:
                    lines.end([books[seed]], earlier=True)
        return books

    def _fit(self, seeds: Sequence[int], stop: Callable[[], bool]) -> list[Book]:
        options = self._run.options
        with contextlib.closing(_log(self._run, seeds)) as lines:
            books = fit.fit(
                self._run.model,
                self.programs(len(seeds)),
                self._data,
                seeds=seeds,
                initial=[self.start(seed) for seed in seeds],
                cycles=options.cycles,
                checkpoints=[self._run.checkpoints(seed) for seed in seeds],
                save_seconds=options.checkpoint.seconds,
                log=lines,
                interrupted=stop,
            )
            if all(book.finished for book in books):
                lines.end(books)
        return books


def seeds_at_once(run: Run) -> int:
    """How many seeds one program trains.

    A GPU waits for launches: five seeds cost hardly more than one, as long as what
    training keeps fits in half of its memory. On a CPU, where the products are what
    costs, one after the other is as fast or faster (tools/bench/bench.py --seeds 5).
    """
    at_once, seeds = run.options.train.seeds_at_once, run.options.train.seeds
    if isinstance(at_once, int):
        return at_once
    if len(seeds) == 1 or parallel.on_cpu(run.devices):
        return 1
    options, devices = run.options, len(run.devices)
    need = memory.of_seed(
        run.model, options.plan, devices=devices, precision=run.precision
    )
    fitting = parallel.memory(run.devices) // 2 // need
    # Machines with less memory than others decide for all.
    return processes.least(max(1, min(len(seeds), fitting)))


def _log(run: Run, seeds: Sequence[int]) -> log.Log | log.Silent:
    if not processes.is_first():
        return log.Silent()
    folders = {seed: run.folder / f"seed_{seed}" for seed in seeds}
    return log.Log(folders, title=run.options.system, console=run.console)


def _epoch_seconds(book: Book, phase: str = "") -> float | None:
    """The median of the seconds of a seed's epochs, of one phase or of all; None where an older version began the run."""
    if len(book.epoch_seconds) < len(book.history):
        return None
    found = [
        seconds
        for seconds, row in zip(book.epoch_seconds, book.history, strict=True)
        if phase in ("", row["phase"])
    ]
    return round(statistics.median(found), 4) if found else None


def _results(
    run: Run,
    data: fit.Data,
    books: Mapping[int, Book],
    corpus: Corpus,
    trainer: Trainer,
) -> Results:
    """The figures on validation and test of the seeds that have any."""
    stopped = {seed: book.stopped for seed, book in books.items() if book.stopped}
    books = {seed: book for seed, book in books.items() if book.best is not None}
    if not books:
        raise ValueError(
            "no seed had a finite validation figure: there is nothing to report"
        )
    splits = {name: data.splits[name] for name in ("valid", "test")}
    compute = inference.Inference(run, program=trainer.last)
    made = unread.predict(compute, run.model, splits, list(books))
    select = run.options.plan[-1].select
    facts = {
        "epochs": [len(book.history) for book in books.values()],
        "seconds": [round(book.seconds, 3) for book in books.values()],
        "seconds_per_epoch": [_epoch_seconds(book) for book in books.values()],
        "phase_seconds": {
            phase.name: [_epoch_seconds(book, phase.name) for book in books.values()]
            for phase in run.options.plan
        },
        "peak_memory": max(book.peak_memory for book in books.values()) or None,
        "parameters": trainer.parameters(),
        "precision": run.precision,
        "version": msajax.__version__,
        "config_sha256": saved.sha256(run.options),
        "data_sha256": corpus.sha256,
        "checkpoint": (
            "last epoch" if select == "last" else f"best epoch by validation {select}"
        ),
        "stopped": stopped,
        **made.facts,
    }
    predictions = {k: run.labelled(corpus.splits[k], v) for k, v in made.preds.items()}
    return run.results(predictions, facts)
