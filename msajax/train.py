"""Training: one step, one loop over steps, one `fit` over cycles, phases and epochs.

The same for every system. A step is a pure function of (state, batch, key,
progress) and a batch one of (seed, cycle, phase, epoch, step), so a run that
was killed goes on from its last checkpoint to the same bits.
"""

import dataclasses
import functools
import re
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import traverse_util

from msajax import evaluate, optim, parallel
from msajax.book import Book, Phase
from msajax.checkpoint import Checkpoints
from msajax.data import loader
from msajax.data.spec import Dataset, suggest
from msajax.logs import Log
from msajax.models.base import Model

# Steps of one dispatch: between two of them the bar moves, and a signal is heard.
_CHUNK = 50


@dataclasses.dataclass(frozen=True)
class Data:
    """A corpus on the devices: {split: {field: [N, ...]}}, with labels on the host too."""

    dataset: Dataset
    splits: dict[str, dict[str, jax.Array]]
    labels: dict[str, np.ndarray]


class State(NamedTuple):
    """What a step maps to the next; parameters and collections are flat: {'a/b/kernel': array}."""

    params: dict[str, jax.Array]
    collections: dict[str, jax.Array]
    opt_state: dict[str, Any]  # by the phase's name


def make_step(
    model: Model, phase: Phase, transform: optax.GradientTransformation, trained: set
) -> Callable:
    """The one training step: (state, batch, key, progress) -> (state, metrics)."""

    def step(state: State, batch, key, progress):
        frozen = {k: v for k, v in state.params.items() if k not in trained}
        params = {k: v for k, v in state.params.items() if k in trained}
        rngs = parallel.rngs(key, progress["step"])

        def loss_of(params):
            (loss, terms), updated = model.apply(
                variables(state._replace(params=frozen | params)),
                batch,
                train=True,
                progress=progress,
                method=phase.loss,
                mutable=sorted({path.split("/")[0] for path in state.collections}),
                rngs=rngs,
            )
            terms.pop("pred", None)  # evaluation's, not to be logged
            return loss, (terms, traverse_util.flatten_dict(updated, sep="/"))

        (loss, (terms, updated)), grads = jax.value_and_grad(loss_of, has_aux=True)(
            params
        )
        grads = parallel.mean(grads)
        updates, opt_state = transform.update(
            grads, state.opt_state[phase.name], params
        )
        updates = jax.tree.map(lambda u: u * progress["lr_scale"], updates)
        held = {
            path: value
            for path, value in state.collections.items()
            if not _moves(phase, path, state.params, trained)
        }
        state = State(
            params=frozen | optax.apply_updates(params, updates),  # pyright: ignore
            collections=updated | held,
            opt_state=state.opt_state | {phase.name: opt_state},
        )
        return state, {"loss": loss, **terms}

    return step


def make_loop(step: Callable, devices: parallel.Devices, total: int) -> Callable:
    """Compiles many steps per dispatch.

    Args:
      step: made by `make_step`.
      devices: where it runs.
      total: steps of the phase, for progress['fraction'].

    Returns:
      loop(state, data, rows, start, stop, key, epoch, lr_scale) -> (state,
      {metric: [steps]}) that does steps start..stop of an epoch. Both are
      traced: a run that resumes in mid-epoch runs the same program.
    """

    def loop(state, data, rows, start, stop, key, epoch, lr_scale):
        def one(state, i):
            done = epoch * rows.shape[0] + i
            progress = {"epoch": epoch, "step": done, "fraction": done / total}
            progress["lr_scale"] = lr_scale
            return step(state, evaluate.take(data, rows[i]), key, progress)

        def body(i, carry):
            state, metrics = carry
            state, new = one(state, i)
            return state, {k: metrics[k].at[i].set(v) for k, v in new.items()}

        _, shapes = jax.eval_shape(one, state, jnp.int32(0))
        empty = {k: jnp.zeros(rows.shape[0], v.dtype) for k, v in shapes.items()}
        return jax.lax.fori_loop(start, stop, body, (state, empty))

    in_axes = (None, None, 0, None, None, None, None, None)
    return parallel.compile(loop, devices, in_axes=in_axes, donate=(0,))


class Program:
    """A phase made ready to run: what it trains, its optimizer, its compiled passes.

    Made once and run for every seed.
    """

    def __init__(self, model: Model, phase: Phase, data: Data, *, cycles, devices):
        _check(model, phase, data.dataset)
        parallel.check_batch_size(phase.batch_size, devices)
        paths = jax.eval_shape(functools.partial(init, model), jax.random.key(0)).params
        groups = optim.assign(phase.optimizer, [k for k in paths if _trains(phase, k)])
        groups = {k: group for k, group in groups.items() if group is not None}
        if not groups:
            raise ValueError(
                f'phase "{phase.name}" trains nothing: the regex "{phase.train}" and the '
                f"optimizer groups leave no parameter of {', '.join(paths)}"
            )
        rows = len(data.labels["train"])
        steps = len(loader.epoch_rows(rows, phase.batch_size, order=(0, 0, 0, 0)))
        self.phase, self.total = phase, steps * phase.epochs * cycles
        self._trained = set(groups)
        self._transform = optim.build(
            phase.optimizer,
            groups,
            updates=self.total // phase.accumulate,
            accumulate=phase.accumulate,
        )
        step = make_step(model, phase, self._transform, self._trained)
        self.loop = make_loop(step, devices, self.total)
        self.forward = evaluate.make_forward(
            model, devices, predict=phase.predict, loss=phase.loss
        )

    def init(self, params: dict[str, jax.Array]) -> Any:
        """A fresh optimizer state over the parameters that the phase trains."""
        return self._transform.init({k: params[k] for k in sorted(self._trained)})


@functools.partial(jax.jit, static_argnums=0)
def init(model: Model, key: jax.Array) -> State:
    """Initial parameters and collections of a system, without an optimizer state."""
    made: Any = dict(model.init(key, model.spec.example(2), train=False))
    params: Any = traverse_util.flatten_dict(made.pop("params"), sep="/")
    collections: Any = traverse_util.flatten_dict(made, sep="/")
    return State(params, collections, {})


def variables(state: State) -> dict[str, Any]:
    """The nested variables of a state, for `Model.apply`."""
    nested = traverse_util.unflatten_dict(state.collections, sep="/")
    return {"params": traverse_util.unflatten_dict(state.params, sep="/"), **nested}


def fit(
    model: Model,
    programs: Sequence[Program],
    data: Data,
    *,
    seed: int,
    cycles: int,
    devices: parallel.Devices,
    checkpoints: Checkpoints,
    save_seconds: float,
    log: Log,
    interrupted: Callable[[], bool],
) -> Book:
    """Trains one seed to the end, from its last checkpoint where there is one.

    Args:
      model: the system.
      programs: its phases, one after the other; each starts from the best of
        the one before.
      data: the corpus.
      seed: of the initial values, the order of the rows and every random stream.
      cycles: with more than one the phases alternate, keep their optimizer
        states, and best figure and patience belong to the cycle.
      devices: where it runs.
      checkpoints: where it saves.
      save_seconds: least time between two saves.
      log: of this seed.
      interrupted: True once the run is to stop; it saves first.

    Returns:
      The seed's book, unfinished where it was interrupted. The variables that
      validation chose are the last checkpoint's 'best'.
    """
    put = functools.partial(parallel.replicate, devices=devices)
    root = jax.random.key(seed)
    initial = put(init(model, root))
    keys = [put(jax.random.fold_in(root, i)) for i in range(len(programs))]
    phases = [program.phase for program in programs]

    def enter(state: State, phase: int) -> State:
        chosen = programs if cycles > 1 else [programs[phase]]
        fresh = {p.phase.name: p.init(state.params) for p in chosen}
        return put(_copy(state._replace(opt_state=fresh)))

    def like(found: dict) -> dict:
        return {"state": enter(initial, found["phase"]), "best": initial}

    book, state, best = Book(), None, None
    if restored := checkpoints.restore(like):
        book = Book(**restored[0])
        state, best = restored[1].get("state"), restored[1].get("best")
    log.begin(book.history)
    if book.finished:
        return book
    saved, began = time.monotonic(), time.monotonic() - book.seconds

    def save() -> float:
        book.seconds = time.monotonic() - began
        trees = {"state": state, "best": best}
        kept = {name: tree for name, tree in trees.items() if tree is not None}
        checkpoints.save(dataclasses.asdict(book), **kept)
        return time.monotonic()

    train, labels = data.splits["train"], data.labels
    while not book.finished:
        program, key = programs[book.phase], keys[book.phase]
        phase = program.phase
        state = state or enter(best or initial, book.phase)
        order = (seed, book.cycle, book.phase, book.epoch)
        rows = loader.epoch_rows(len(labels["train"]), phase.batch_size, order=order)
        dealt = parallel.shard_rows(rows, devices)
        epoch = put(np.int32(book.cycle * phase.epochs + book.epoch))
        scale = put(np.float32(book.lr_scale(phase)))
        while book.step < len(rows) and not book.finished:
            stop = min(book.step + _CHUNK, len(rows))
            ends = put((np.int32(book.step), np.int32(stop)))
            state, metrics = program.loop(state, train, dealt, *ends, key, epoch, scale)
            book.record(jax.device_get(metrics), stop)
            log.steps(book, len(rows), phase)
            if interrupted():
                save()
                return book
            if time.monotonic() - saved >= save_seconds and not book.finished:
                saved = save()
        if book.finished:
            break
        figures = _validate(program, state, data, epoch * len(rows), epoch, scale)
        improved = book.selects(phases, cycles) and (
            phase.select == "last"
            or evaluate.improves(phase.select, figures, book.best)
        )
        if improved:
            best = _copy(state._replace(opt_state={}))
        done = book.phase
        book.end_epoch(phases, cycles, figures, improved)
        log.epoch(book)
        if cycles == 1 and book.phase != done:
            state = None
    state = None
    save()
    return book


def _validate(program: Program, state: State, data: Data, done, epoch, lr_scale):
    """Loss and metrics of the validation split after `done` steps of the phase."""
    progress = {"epoch": epoch, "step": done, "fraction": done / program.total}
    figures, _ = evaluate.figures(
        program.forward,
        variables(state),
        data.splits["valid"],
        data.labels["valid"],
        dataset=data.dataset,
        batch_size=program.phase.batch_size,
        progress=progress | {"lr_scale": lr_scale},
    )
    return figures


@jax.jit
def _copy(tree: Any) -> Any:
    # The state's buffers are donated to the next step: what is to stay is copied.
    return jax.tree.map(jnp.copy, tree)


def _trains(phase: Phase, path: str) -> bool:
    return re.fullmatch(phase.train, path) is not None


def _moves(phase: Phase, path: str, params: dict, trained: set) -> bool:
    """Whether a phase updates a collection's leaf: with the parameters of its module."""
    _, *module, leaf = path.split("/")
    prefix = "".join(f"{name}/" for name in module)
    beside = [k for k in params if k.startswith(prefix)]
    if beside:
        return any(k in trained for k in beside)
    return _trains(phase, prefix + leaf)


def _check(model: Model, phase: Phase, dataset: Dataset) -> None:
    for method in (phase.loss, phase.predict):
        if not callable(getattr(model, method, None)):
            known = [m for m in dir(type(model)) if m.endswith(("loss", "pred"))]
            raise ValueError(
                f'phase "{phase.name}" names the method "{method}", which '
                f"{type(model).__name__} does not have{suggest(method, known)}"
            )
    figures = ("loss", "last", *evaluate.metric_names(dataset))
    if phase.select not in figures:
        raise ValueError(
            f'unknown metric "{phase.select}" in select{suggest(phase.select, figures)}'
        )
