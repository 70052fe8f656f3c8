"""Training: one `fit` over cycles, phases and epochs for one seed or several at once.

The loop is the same for every system. A step is a pure function (step.py), and a
batch is a pure function of (seed, cycle, phase, epoch, step), so a run that was
killed resumes from its last checkpoint with bit-identical results.
"""

import dataclasses
import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from msajax import parallel, processes
from msajax.data import loader
from msajax.data.spec import Dataset
from msajax.models.base import Model
from msajax.train import evaluate, feed
from msajax.train.checkpoint import Checkpoints
from msajax.train.log import Log, Silent
from msajax.train.plan import Book, Phase, Place
from msajax.train.step import Program, State, init, variables
from msajax.train.update import select


@dataclasses.dataclass(frozen=True)
class Data:
    """A corpus that is ready.

    Attributes:
      dataset: its labels and metrics.
      splits: {split: rows}.
      labels: {split: [N]} on the host.
      phases: {file: rows} of the phases that train on a file of their own.
    """

    dataset: Dataset
    splits: dict[str, feed.Source]
    labels: dict[str, np.ndarray]
    phases: dict[str, feed.Source] = dataclasses.field(default_factory=dict)

    def of(self, phase: Phase) -> feed.Source:
        """The rows that a phase trains on."""
        if phase.data == "train":
            return self.splits["train"]
        return self.phases[phase.data]


def fit(
    model: Model,
    programs: Sequence[Program],
    data: Data,
    *,
    seeds: Sequence[int],
    cycles: int,
    checkpoints: Sequence[Checkpoints],
    save_seconds: float,
    log: Log | Silent,
    interrupted: Callable[[], bool],
    initial: Sequence[Mapping[str, np.ndarray]] = (),
    values: Mapping[str, np.ndarray] = {},
    prune: Callable[[int, Book], str] = lambda i, book: "",
) -> list[Book]:
    """Trains seeds at once to the end, each from its last checkpoint where there is one.

    Args:
      model: the system.
      programs: its phases, one after the other, made for so many seeds; each
        starts from the best of the one before.
      data: the corpus.
      seeds: each of its initial values, order of rows and random streams.
      cycles: with more than one the phases alternate, keep their optimizer
        states, and best figure and patience belong to the cycle.
      checkpoints: where each seed saves.
      save_seconds: least time between two saves.
      log: of these seeds.
      interrupted: True once the run is to stop; it saves first.
      initial: of each seed the arrays that do not start as the system draws them, by
        their paths; () where there are none.
      values: {key: [S]} of the options that the seeds differ in (`varied.py`); a phase
        takes those that it varies.
      prune: asked after each epoch of the n-th seed: why it is to stop; '' if it is not.

    Returns:
      The seeds' books, unfinished where the run was interrupted. The variables
      that validation chose are the last checkpoint's 'best'.
    """
    group = _Group(
        model, tuple(programs), data, seeds, cycles, checkpoints, initial, values
    )
    log.begin([book.history for book in group.books])
    saved = time.monotonic()
    while running := [book for book in group.books if not book.finished]:
        # Seeds that are ahead (in the next phase, by their patience) wait for the others.
        here = min(book.place for book in running)
        program = programs[here[1]]
        for done in group.epoch(here):
            done += here[2] * program.steps
            active = len(group.standing())
            log.steps(group.books, program.phase, done, program.steps, active=active)
            due = time.monotonic() - saved >= save_seconds
            stop, due = processes.agree(interrupted(), due)
            if stop or due:
                group.save()
                saved = time.monotonic()
            if stop:
                return group.books
        for i in group.end_epoch(here):
            log.epoch(i, group.books[i])
            if reason := prune(i, group.books[i]):
                group.books[i].stop(reason)
    group.save()
    return group.books


class _Group:
    """Seeds that train together: their books, and their arrays with an axis of seeds in front.

    The figures of the steps stay on the devices until an epoch ends or a save
    comes, so that the host does not hold up the next dispatch.
    """

    def __init__(
        self, model, programs, data, seeds, cycles, checkpoints, initial, values
    ):
        self._programs, self._data = programs, data
        self._seeds, self._cycles = seeds, cycles
        self._checkpoints = checkpoints
        self._devices = data.splits["train"].devices
        self._put = functools.partial(parallel.replicate, devices=self._devices)
        roots = [jax.random.key(seed) for seed in seeds]
        self._keys = [
            self._put(
                stack(
                    [jax.random.key_data(jax.random.fold_in(root, i)) for root in roots]
                )
            )
            for i in range(len(programs))
        ]
        values = {k: np.asarray(v, np.float32) for k, v in values.items()}
        self._values = [
            self._put({k: v for k, v in values.items() if k in program.varies})
            for program in programs
        ]
        drawn = [
            init(model, root, {k: v[i] for k, v in values.items()})
            for i, root in enumerate(roots)
        ]
        found = [
            self._restore(_with(start, given), folder)
            for start, folder, given in zip(
                drawn, checkpoints, initial or [{}] * len(roots), strict=True
            )
        ]
        self.books = [book for book, _, _ in found]
        self._state = self._put(stack([state for _, state, _ in found]))
        self._best = self._put(stack([best for _, _, best in found]))
        self._active = [False] * len(self.books)
        self._pending: list[tuple[dict[str, jax.Array], int]] = []
        self._saved: dict[int, tuple[Place, bool]] = {}
        self._since = time.monotonic()

    def _restore(
        self, initial: State, folder: Checkpoints
    ) -> tuple[Book, State, State]:
        best = self._put(initial)
        state = self._put(_fresh(self._programs, best))
        found = folder.restore(lambda _: {"state": state, "best": best})
        if found is None:
            return Book(), state, best
        book, trees = found
        return book, trees.get("state", state), trees.get("best", best)

    def epoch(self, here: Place) -> Iterator[int]:
        """Does the rest of an epoch for the seeds that stand there; yields the steps done after each dispatch."""
        cycle, phase, number, step = here
        program = self._programs[phase]
        self._active = [not b.finished and b.place == here for b in self.books]
        source = self._data.of(program.phase)
        made = [
            loader.epoch_batches(
                source.sizes,
                program.phase.batch_size,
                order=(seed, cycle, phase, number),
            )
            for seed in self._seeds
        ]
        batches = loader.Batches(np.stack([b.rows for b in made]), made[0].part)
        scalars = self._scalars(here), np.array(self._active)
        (epoch, scale), active = self._put(scalars)
        values = {"lr_scale": scale, **self._values[phase]}
        for chunk in source.chunks(batches, step):
            self._state, metrics = program.loop(
                self._state, *chunk, epoch, self._keys[phase], values, active
            )
            count = min(len(chunk.part), program.steps - step)
            step += count
            if self._pending:  # one dispatch may wait while another runs
                jax.block_until_ready(self._pending[-1][0])
            self._pending.append((metrics, count))
            yield step

    def _scalars(self, here: Place) -> tuple[np.int32, np.ndarray]:
        """The epoch's number over all cycles, and each seed's scale of the learning rate."""
        phase = self._programs[here[1]].phase
        scales = [book.lr_scale(phase) for book in self.books]
        epoch = np.int32(here[0] * phase.epochs + here[2])
        return epoch, np.array(scales, np.float32)

    def end_epoch(self, here: Place) -> list[int]:
        """Validates, keeps what is best, moves on to the next phase; the seeds whose epoch it was."""
        self._record()
        ended = [i for i in self.standing() if not self.books[i].finished]
        if not ended:
            return []
        shown = self._shown(here[1])
        figures = self._validate(here, shown)
        self._clock()
        phases = [program.phase for program in self._programs]
        improved, moved = np.zeros((2, len(self.books)), bool)
        for i in ended:
            book, phase = self.books[i], phases[here[1]]
            improved[i] = book.selects(phases, self._cycles) and (
                phase.select == "last"
                or evaluate.improves(phase.select, figures[i], book.best)
            )
            book.end_epoch(phases, self._cycles, figures[i], bool(improved[i]))
            moved[i] = self._cycles == 1 and book.phase != here[1]
        masks = self._put((improved, moved))
        if improved.any():
            chosen = shown._replace(opt_state={})
            self._best = _choose(masks[0], chosen, self._best)
        if moved.any() and not all(book.finished for book in self.books):
            fresh = _fresh_seeds(self._programs, self._best)
            self._state = self._put(_choose(masks[1], fresh, self._state))
        return ended

    def _shown(self, phase: int) -> State:
        """The state to evaluate and keep: with averages in place of parameters, where there are any.

        Phases that alternate count all: what several train is as the last of them has it.
        """
        programs, params = (self._programs[phase],), self._state.params
        for program in self._programs if self._cycles > 1 else programs:
            params = params | program.shown(self._state)
        return self._state._replace(params=params)

    def _validate(self, here: Place, shown: State) -> list[dict[str, float]]:
        """Loss and metrics of the validation split for each seed, after an epoch."""
        program, data = self._programs[here[1]], self._data
        epoch, scale = self._scalars(here)
        done = np.int32((epoch + 1) * program.steps)
        progress = {"epoch": epoch, "step": done, "lr_scale": scale}
        progress["fraction"] = np.float32(done / program.total)
        preds, losses = program.forward(
            variables(shown),
            data.splits["valid"],
            program.phase.batch_size,
            self._put(progress),
            self._values[here[1]],
        )
        labels = data.labels["valid"]
        return [
            {"loss": float(loss)} | evaluate.metrics_of(data.dataset, pred, labels)
            for pred, loss in zip(preds, losses, strict=True)
        ]

    def _record(self) -> None:
        """Brings the books up to the last dispatch."""
        standing = self.standing()
        for metrics, count in jax.device_get(self._pending):
            for i in standing:
                if not self.books[i].finished:
                    self.books[i].record({k: v[i, :count] for k, v in metrics.items()})
        self._pending = []
        self._clock()

    def _clock(self) -> None:
        """Adds the time since the last call to the books of the seeds that it was spent on."""
        now, standing = time.monotonic(), self.standing()
        memory = parallel.peak_memory(self._devices)
        for i in standing:
            book = self.books[i]
            book.seconds += (now - self._since) / len(standing)
            book.peak_memory = max(book.peak_memory, memory)
        self._since = now

    def standing(self) -> list[int]:
        """The seeds that the last dispatches moved."""
        return [i for i, active in enumerate(self._active) if active]

    def save(self) -> None:
        """Writes a checkpoint of every seed that has moved since its last."""
        self._record()
        for i, (book, folder) in enumerate(
            zip(self.books, self._checkpoints, strict=True)
        ):
            place = (book.place, book.finished)
            if self._saved.get(i) == place:
                continue
            trees = {} if book.finished else {"state": _seed(self._state, i)}
            if any(row["best"] for row in book.history):
                trees["best"] = _seed(self._best, i)
            folder.save(book, **trees)
            self._saved[i] = place


def _with(state: State, given: Mapping[str, np.ndarray]) -> State:
    def fill(arrays: dict[str, jax.Array]) -> Any:
        return {path: given.get(path, array) for path, array in arrays.items()}

    return state._replace(
        params=fill(state.params), collections=fill(state.collections)
    )


@jax.jit
def stack(trees: Sequence[Any]) -> Any:
    """Trees of one seed each as one tree with an axis of seeds in front."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


@functools.partial(jax.jit, static_argnums=1)
def _seed(tree: Any, i: int) -> Any:
    """One seed's part of a tree."""
    return jax.tree.map(lambda leaf: leaf[i], tree)


@jax.jit
def _choose(chosen: jax.Array, new: Any, old: Any) -> Any:
    # Copies: the state's buffers are donated to the next step.
    return select(chosen, new, old)


@functools.partial(jax.jit, static_argnums=0)
def _fresh(programs: tuple[Program, ...], state: State) -> State:
    """A state of one seed with new optimizer states."""
    made = {p.phase.name: p.init(state.params) for p in programs}
    return state._replace(opt_state=made)


@functools.partial(jax.jit, static_argnums=0)
def _fresh_seeds(programs: tuple[Program, ...], state: State) -> State:
    return jax.vmap(functools.partial(_fresh, programs))(state)
