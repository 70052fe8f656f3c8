"""The training step and its compiled loop, for one seed or several, on one device or many.

A step is a pure function of (state, batch, key, progress), so a run that was
killed resumes from its last checkpoint with bit-identical results.
"""

import functools
import re
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import traverse_util

from msajax import parallel
from msajax.data import loader
from msajax.data.spec import Dataset
from msajax.models.base import Model
from msajax.train import check, evaluate, feed, optim, varied
from msajax.train.plan import NORMS, Phase
from msajax.train.update import select, update
from msajax.train.varied import Values

# For programs that run once: level 1 compiles in about half the time and gives the same
# bits. Level 0 does not: it contracts no product with a sum.
ONCE = {"xla_backend_optimization_level": 1}


class State(NamedTuple):
    """What a step maps to the next; parameters and collections are flat: {'a/b/kernel': array}.

    Where several seeds train at once, every array has an axis of seeds in front.
    """

    params: dict[str, jax.Array]
    collections: dict[str, jax.Array]
    opt_state: dict[str, Any]  # by the phase's name


def make_step(
    model: Model,
    phase: Phase,
    transform_of: Callable[[Values], optax.GradientTransformation],
    trained: Collection[str],
    *,
    precision: str = "float32",
) -> Callable:
    """The one training step: (state, batch, key, progress, values, place, active, given) -> (state, metrics).

    The values are those of `varied.py`; without any, the phase and the system hold all. The
    place is the step's number in its epoch. A seed that is not active stays as it is. `given`
    are bfloat16 copies of the parameters to compute with: the gradients are bfloat16 too then.
    """

    def step(
        state: State,
        batch,
        key,
        progress,
        values: Values = varied.NONE,
        place=0,
        active=None,
        given=None,
    ):
        system, transform = varied.model(model, values), transform_of(values)
        given = state.params if given is None else given
        frozen = {k: v for k, v in given.items() if k not in trained}
        params = {k: v for k, v in given.items() if k in trained}
        rngs = parallel.rngs(key, progress["step"])

        loss_of = functools.partial(
            phase_loss,
            system,
            phase,
            precision,
            state._replace(params=frozen),
            batch,
            rngs,
            progress,
        )
        # Custom gradients are traced here, after `evaluate.apply`.
        with evaluate.products(precision):
            (loss, (terms, updated)), grads = jax.value_and_grad(loss_of, has_aux=True)(
                params
            )
        grads = parallel.mean(grads)
        params, opt_state, norms = update(
            phase,
            transform,
            grads,
            state.opt_state[phase.name],
            {k: state.params[k] for k in params},
            progress=progress,
            place=place,
            active=active,
        )
        collections = {
            path: updated[path].astype(old.dtype)
            if _moves(phase, path, state.params, trained)
            else old
            for path, old in state.collections.items()
        }
        collections = select(active, collections, state.collections)
        state = State(
            params=state.params | params,
            collections=collections,
            opt_state=state.opt_state | {phase.name: opt_state},
        )
        return state, {"loss": loss, **dict(zip(NORMS, norms, strict=True)), **terms}

    return step


def phase_loss(
    system: Model,
    phase: Phase,
    precision: str,
    state: State,
    batch: Any,
    rngs: Any,
    progress: Any,
    params: dict[str, jax.Array],
) -> tuple[jax.Array, tuple[dict[str, jax.Array], dict[str, Any]]]:
    """Loss of a phase, its terms and the new collections; the state holds the other parameters."""
    returned, updated = evaluate.apply(
        system,
        variables(state._replace(params=state.params | params)),
        batch,
        precision,
        train=True,
        progress=progress,
        method=phase.loss,
        mutable=sorted({path.split("/")[0] for path in state.collections}),
        rngs=rngs,
    )
    loss, terms = evaluate.loss_and_terms(system, phase.loss, returned)
    terms = {k: v for k, v in terms.items() if k != "pred"}
    return loss, (terms, traverse_util.flatten_dict(updated, sep="/"))


def make_loop(
    step: Callable,
    devices: parallel.Devices,
    *,
    steps: int,
    total: int,
    seeds: int = 1,
    resident: bool = True,
    precision: str = "float32",
) -> Callable:
    """Compiles many steps per dispatch.

    Args:
      step: made by `make_step`.
      devices: where it runs.
      steps: of an epoch.
      total: steps of the phase, for progress['fraction'].
      seeds: S, trained at once.
      resident: whether a chunk's data are a whole split, which the seeds share.
      precision: of the step.

    Returns:
      loop(state, *chunk, epoch, key, values, active) -> (state, {metric: [S, steps of
      the chunk]}) that does the steps of a `feed.Chunk`. The values are 'lr_scale' and
      those of `varied.py`. They, the state, the key's data and active ([S]) have an axis
      of seeds in front; a seed that is not active stays as it is.
    """

    def loop(state, data, rows, part, ends, epoch, key, values, active):
        (first, count), key = ends, jax.random.wrap_key_data(key)
        moving = active if seeds > 1 else None

        def given(state):
            # The loop carries them: the optimizer then writes them in its pass over the parameters.
            return evaluate.rounded(state.params) if precision == "bfloat16" else None

        def one(state, params, i):
            done = epoch * steps + first + i
            progress = {"epoch": epoch, "step": done, "fraction": done / total}
            progress["lr_scale"] = values["lr_scale"]
            rest = key, progress, values, first + i, moving, params
            choices = [
                lambda d=d: step(state, feed.take(d, rows[i]), *rest) for d in data
            ]
            if len(data) == 1:
                return choices[0]()
            return jax.lax.switch(part[i], choices)

        def body(i, carry):
            state, params, metrics = carry
            state, new = one(state, params, i)
            metrics = {k: metrics[k].at[i].set(v) for k, v in new.items()}
            return state, given(state), metrics

        start = given(state)
        _, shapes = jax.eval_shape(one, state, start, jnp.int32(0))
        empty = {k: jnp.zeros(rows.shape[0], v.dtype) for k, v in shapes.items()}
        carry = jax.lax.fori_loop(0, count, body, (state, start, empty))
        return carry[0], carry[2]

    data = None if resident else 0
    by_seed = (0, data, 0, None, None, None, 0, 0, 0)
    by_device = (None, data, 0, None, None, None, None, None, None)
    loop = parallel.over_seeds(loop, seeds, in_axes=by_seed)
    return parallel.compile(loop, devices, in_axes=by_device, donate=(0,))


class Program:
    """A phase made ready to run: what it trains, its optimizer, its compiled passes.

    Made once and run for every group of so many `seeds`. `paths` are the parameters that
    it trains, `varies` the keys of the values that the seeds bring along.
    """

    def __init__(
        self,
        model: Model,
        phase: Phase,
        dataset: Dataset,
        source: feed.Source,
        *,
        cycles: int,
        seeds: int = 1,
        precision: str = "float32",
        varies: Collection[str] = (),
    ):
        check.phase(model, phase, dataset)
        devices = source.devices
        parallel.check_batch_size(phase.batch_size, devices)
        paths = shapes(model).params
        if model.lora:
            model.lora.check(paths)
        groups = groups_of(model, phase, paths)
        order = (0, 0, 0, 0)
        steps = len(
            loader.epoch_batches(source.sizes, phase.batch_size, order=order).part
        )
        self.phase, self.steps, self.seeds = phase, steps, seeds
        self.total = steps * phase.epochs * cycles
        self.paths, self.varies = frozenset(groups), frozenset(varies)

        def transform_of(values: Values) -> optax.GradientTransformation:
            return optim.build(
                phase.optimizer,
                groups,
                updates=self.total // phase.accumulate,
                accumulate=phase.accumulate,
                values=varied.optimizer(values),
            )

        # Its state has the same form whatever the values are.
        self._transform = transform_of(dict.fromkeys(varies, jnp.ones(())))
        step = make_step(model, phase, transform_of, self.paths, precision=precision)
        self.loop = make_loop(
            step,
            devices,
            steps=steps,
            total=self.total,
            seeds=seeds,
            resident=source.resident,
            precision=precision,
        )
        self.forward = evaluate.make_forward(
            model,
            predict=phase.predict,
            loss=phase.loss,
            seeds=seeds,
            precision=precision,
        )

    def init(self, params: dict[str, jax.Array]) -> Any:
        """A fresh optimizer state over the parameters that the phase trains, with their average."""
        own = {k: params[k] for k in sorted(self.paths)}
        state = self._transform.init(own)
        return (state, jax.tree.map(jnp.copy, own)) if self.phase.ema else state

    def shown(self, state: State) -> dict[str, jax.Array]:
        """What to evaluate and keep of the parameters that it trains: their average, where there is one."""
        if self.phase.ema:
            return state.opt_state[self.phase.name][1]
        return {k: state.params[k] for k in self.paths}


@functools.partial(jax.jit, static_argnums=0)
def draw(model: Model, key: jax.Array, values: Values = varied.NONE) -> State:
    """`init` for use inside of another traced function."""
    model = varied.model(model, values)
    outputs, found = model.init_with_output(key, model.spec.example(2), train=False)
    check.outputs(model, outputs, rows=2)
    made: Any = dict(found)
    params: Any = traverse_util.flatten_dict(made.pop("params"), sep="/")
    collections: Any = traverse_util.flatten_dict(made, sep="/")
    return State(params, collections, {})


@functools.partial(jax.jit, static_argnums=0, compiler_options=ONCE)
def init(model: Model, key: jax.Array, values: Values = varied.NONE) -> State:
    """Initial parameters and collections of a system, without an optimizer state."""
    return draw(model, key, values)


def shapes(model: Model) -> State:
    """Shapes and dtypes of what `init` makes, without computing it."""
    return jax.eval_shape(functools.partial(draw, model), jax.random.key(0))


def blank(model: Model) -> State:
    """Zeros where `init` draws numbers, to read a checkpoint into."""
    return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes(model))


def variables(state: State) -> dict[str, Any]:
    """The nested variables of a state, for `Model.apply`."""
    nested = traverse_util.unflatten_dict(state.collections, sep="/")
    return {"params": traverse_util.unflatten_dict(state.params, sep="/"), **nested}


def groups_of(model: Model, phase: Phase, paths: Collection[str]) -> dict[str, int]:
    """The optimizer group of each parameter that a phase trains."""
    assigned = optim.assign(
        phase.optimizer,
        [k for k in paths if re.fullmatch(phase.train, k)],
        encoders={k.partition("/")[0] for k in paths},
    )
    trains = model.lora.trains if model.lora else lambda path: True
    groups = {k: i for k, i in assigned.items() if i is not None and trains(k)}
    if not groups:
        raise ValueError(
            f'phase "{phase.name}" trains nothing: the regex "{phase.train}" (which '
            'must match the whole name, as "gate/.*" does) and the optimizer groups '
            f"leave no parameter of {', '.join(paths)}"
        )
    return groups


def _moves(phase: Phase, path: str, params: dict, trained: Collection[str]) -> bool:
    """Whether a phase updates a collection's leaf: with the parameters of its module."""
    _, *module, leaf = path.split("/")
    prefix = "".join(f"{name}/" for name in module)
    beside = [k for k in params if k.startswith(prefix)]
    if beside:
        return any(k in trained for k in beside)
    return re.fullmatch(phase.train, prefix + leaf) is not None
