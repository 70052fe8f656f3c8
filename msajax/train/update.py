"""From the gradients of a batch to new parameters: accumulation, the update, its norms, the average."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from msajax.train.plan import UNMEASURED, Phase

# Of so many updates one measures its gradient and itself, which takes a pass over all of them.
_MEASURED = 16

Norms = tuple[jax.Array, jax.Array]


def update(
    phase: Phase,
    transform: optax.GradientTransformation,
    grads: Any,
    state: Any,
    params: Any,
    *,
    progress: dict[str, jax.Array],
    place: Any,
    active: jax.Array | None = None,
) -> tuple[Any, Any, Norms]:
    """What a phase trains, after a batch.

    Args:
      phase: has the number of batches of an update, and the decay of the average.
      transform: made by `optim.build`.
      grads: of the batch; they may be in half precision.
      state: of the optimizer; a pair with the average where the phase has one.
      params: before the batch.
      progress: of the step.
      place: the step's number in its epoch.
      active: a bool; the parameters and the state of a seed that is not stay as they are.

    Returns:
      (params, state, norms): the norms of the gradient and of the update, or -1 each.
      Only the last batch of an update changes the parameters, and runs the optimizer.
    """
    unmeasured = (jnp.float32(UNMEASURED), jnp.float32(UNMEASURED))
    state, mean = state if phase.ema else (state, None)

    def end(carry: Any) -> Any:
        params, state, mean, _ = carry

        def whole() -> Any:
            # Called in each place: each pass then reads the bfloat16 gradients, and no
            # float32 copy of them is written.
            return jax.tree.map(lambda g, p: g.astype(p.dtype), grads, params)

        def measure() -> Norms:
            # Computed again, because the update itself is never written to memory.
            again = transform.update(whole(), state, params)[0]
            return _norm(whole()), _norm(again) * progress["lr_scale"]

        measured = place // phase.accumulate % _MEASURED == 0
        norms = jax.lax.cond(measured, measure, lambda: unmeasured)
        # Never true: it makes the update wait for the measurement. Otherwise XLA copies
        # parameters and moments in every step, to have them for both.
        never = norms[1] < 2 * UNMEASURED
        after = jax.tree.map(lambda g: jnp.where(never, 0, g), whole())
        updates, state = transform.update(after, state, params)
        updates = jax.tree.map(lambda u: u * progress["lr_scale"], updates)
        params = optax.apply_updates(params, updates)
        if phase.ema:
            mean = _average(mean, params, phase, progress["step"])
        return params, state, mean, norms

    # Within the loops below, which work in place: after them it would need a copy of all.
    def moved(fn: Callable[[Any], Any], old: Any) -> Any:
        return select(active, fn(old), old)

    if phase.accumulate == 1:
        carry = moved(end, (params, state, mean, unmeasured))
    else:
        # The seeds share the step's number, so that these are no selects under vmap.
        ends = (progress["step"] + 1) % phase.accumulate == 0
        add = functools.partial(_add, grads=grads)
        state = _where(~ends, functools.partial(moved, add), state)
        carry = (params, state, mean, unmeasured)
        carry = _where(ends, functools.partial(moved, end), carry)
    params, state, mean, norms = carry
    return params, (state, mean) if phase.ema else state, norms


def _norm(tree: Any) -> jax.Array:
    """The global norm; the sums of all rows are added up at once, not array by array.

    A GPU starts a kernel for each small sum.
    """
    arrays = map(jnp.atleast_1d, jax.tree.leaves(tree))
    rows = [jnp.sum(jnp.square(x), axis=-1).ravel() for x in arrays]
    together = jax.lax.optimization_barrier(jnp.concatenate(rows))
    return jnp.sqrt(jnp.sum(together))


def _where(condition: jax.Array, fn: Callable[[Any], Any], carry: Any) -> Any:
    """A function of the carry where the condition holds, else the carry.

    A loop of one iteration or none works in place; XLA copies what a branch of
    `lax.cond` returns as it was given.
    """
    return jax.lax.fori_loop(0, condition.astype(jnp.int32), lambda _, x: fn(x), carry)


def select(active: jax.Array | None, new: Any, old: Any) -> Any:
    """The new tree where `active` (a bool, or [S] with an axis of seeds in front), else the old.

    None stands for True.
    """
    if active is None:
        return new

    def leaf(new, old):
        return jnp.where(
            active.reshape(active.shape + (1,) * (new.ndim - active.ndim)), new, old
        )

    return jax.tree.map(leaf, new, old)


def _add(state: optax.MultiStepsState, grads: Any) -> optax.MultiStepsState:
    """What `optax.MultiSteps` makes of a batch that does not end an update, to the bit.

    It would run the optimizer for each batch, and keep what it returns for the last.
    """
    count = state.mini_step
    mean = jax.tree.map(lambda m, g: m + (g - m) / (count + 1), state.acc_grads, grads)
    return state._replace(mini_step=count + 1, acc_grads=mean)


def _average(mean: Any, params: Any, phase: Phase, step: jax.Array) -> Any:
    """The running average after the update that a step ends.

    Source: tf.train.ExponentialMovingAverage with num_updates.
    """
    before = step // phase.accumulate  # updates
    share = 1 - jnp.minimum(phase.ema, (1 + before) / (10 + before))
    return jax.tree.map(lambda m, p: m + share * (p - m), mean, params)
