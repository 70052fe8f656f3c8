"""The update of accumulated batches: where it runs, and its values against optax's."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from msajax.train import optim, update
from msajax.train.plan import Phase

SEEDS, BATCHES = 2, 8
OPTIMIZER = optim.Optimizer(
    name="adamw", clip_norm=0.5, schedule="warmup_linear", warmup=0.5, weight_decay=0.1
)


def test_only_the_last_batch_of_an_update_runs_the_optimizer():
    """Seeds at once, 8 batches of 3 an update, so that the last update is not complete."""
    phase = Phase(accumulate=3, ema=0.9, optimizer=OPTIMIZER)
    transform = optim.build(phase.optimizer, {"w": 0}, updates=3, accumulate=3)
    grads = np.random.default_rng(0).normal(size=(SEEDS, BATCHES, 4)).astype("float32")
    params = {"w": jnp.arange(4.0)}

    def ours(state, params, grads, i, active):
        return update.update(
            phase,
            transform,
            {"w": grads},
            state,
            params,
            progress={"step": i, "lr_scale": jnp.float32(0.5)},
            place=i,
            active=active,
        )

    def optaxs(state, params, grads):
        updates, state = transform.update({"w": grads}, state, params)
        return jax.tree.map(lambda p, u: p + 0.5 * u, params, updates), state

    seeds = jax.vmap(ours, in_axes=(0, 0, 0, None, 0))
    start = jax.tree.map(lambda x: jnp.stack([x] * SEEDS), params)
    state, all_active = jax.vmap(transform.init)(start), np.array([True, True])
    traced = jax.make_jaxpr(seeds)((state, start), start, grads[:, 0], 0, all_active)
    names = [str(eqn.primitive) for eqn in traced.eqns]
    assert "sqrt" in str(traced) and "sqrt" not in names and names.count("while") == 2

    step, reference = jax.jit(seeds), jax.jit(jax.vmap(optaxs))
    found, pair, wanted, mean = start, (state, start), start, start["w"]
    for i in range(BATCHES):
        found, pair, norms = step(pair, found, grads[:, i], i, all_active)
        wanted, state = reference(state, wanted, grads[:, i])
        np.testing.assert_allclose(found["w"], wanted["w"], rtol=1e-6)
        assert (np.asarray(norms) == update.UNMEASURED).all() == (i != 2)
        if i % 3 == 2:
            decay = (1 + i // 3) / (10 + i // 3)
            mean = decay * mean + (1 - decay) * wanted["w"]
        np.testing.assert_allclose(pair[1]["w"], mean, rtol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), pair[0], state
    )
    assert pair[0].mini_step.tolist() == [2, 2]

    # The batch that ends the last update, of the first seed alone.
    after, later, _ = step(pair, found, grads[:, 0], 8, np.array([True, False]))
    before, now = (jax.tree.leaves(x) for x in ((found, pair), (after, later)))
    for old, new in zip(before, now, strict=True):
        np.testing.assert_array_equal(new[1], old[1])
    assert (after["w"][0] != found["w"][0]).all()
    assert later[0].mini_step.tolist() == [0, 2]


def test_norms_are_those_of_all_arrays_and_rounded_gradients_move_whole_parameters():
    """A scalar, a vector and a matrix; gradients in bfloat16."""
    phase, rng = Phase(optimizer=OPTIMIZER), np.random.default_rng(1)
    params = {
        k: rng.normal(size=s) for k, s in {"a": (), "b": (3,), "c": (2, 5)}.items()
    }
    params = jax.tree.map(jnp.float32, params)
    grads = jax.tree.map(lambda x: jnp.sin(x).astype(jnp.bfloat16), params)
    groups = dict.fromkeys(params, 0)
    transform = optim.build(phase.optimizer, groups, updates=9, accumulate=1)
    state = transform.init(params)

    def after(grads):
        progress = {"step": 0, "lr_scale": jnp.float32(2)}
        return update.update(
            phase, transform, grads, state, params, progress=progress, place=0
        )

    (found, _, norms), whole = (
        jax.jit(after)(grads),
        optax.tree.cast(grads, jnp.float32),
    )
    updates, _ = transform.update(whole, state, params)
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(found))
    chex.assert_trees_all_close(
        found, jax.tree.map(lambda p, u: p + 2 * u, params, updates), rtol=1e-6
    )
    wanted = optax.tree.norm(whole), 2 * optax.tree.norm(updates)
    np.testing.assert_allclose(norms, wanted, rtol=1e-6)
