"""HCT-MG: what the gate mixes, who may be primary, and which modality reads which."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from msajax.data.spec import Spec
from msajax.models.hct_mg import HCTMG
from msajax.run import recipe
from msajax.train import step
from tests import random_bits

SPEC = Spec((5, 3, 4), (4, 4, 4), 6)
SIZES = dict(dim=4, heads=2, layers=1, out_dim=5)
BATCH = SPEC.example(6, seed=1)


@functools.cache
def ready():
    """Parameters, and jitted outputs, what is inside, and gradients of the sum of the predictions."""
    model = HCTMG(SPEC, **SIZES)
    params = jax.device_get(step.init(model, random_bits.key(0)).params)

    def run(params, batch, seen):
        """`seen` is added to the vectors of the orders."""
        variables = step.variables(step.State(params, {}, {}))
        out, state = model.apply(
            variables, batch, train=False, mutable=["intermediates"]
        )
        total = jnp.sum(out["pred"]) + jnp.sum(seen * out["orders"])
        return total, {**out, "inside": state["intermediates"]}

    return params, jax.jit(jax.value_and_grad(run, has_aux=True))


def run(gate, batch=BATCH):
    params, jitted = ready()
    params = {**params, "gate": np.float32(gate)}
    (_, out), grads = jitted(params, batch, np.zeros((6, 3, 4), np.float32))
    return jax.device_get((out, grads))


@pytest.mark.parametrize("primary", [0, 1, 2])
def test_a_gate_that_is_one_hot_mixes_exactly_one_order(primary):
    gate = np.eye(3)[primary]
    out, grads = run(gate)
    np.testing.assert_allclose(out["weights"], np.tile(np.eye(3)[primary], (6, 1)))
    np.testing.assert_allclose(out["fusion"], out["orders"][:, primary], atol=1e-6)
    assert np.abs(np.diff(out["orders"], axis=1)).max(axis=(0, 2)).min() > 0.01
    # The choice is hard, its gradient that of the softmax.
    soft = np.exp(gate) / np.exp(gate).sum()
    w1, b1 = ready()[0]["out/fc1/kernel"], ready()[0]["out/fc1/bias"]
    w2 = ready()[0]["out/fc2/kernel"]
    lit = (out["fusion"] @ w1 + b1 > 0) * w2[:, 0]  # [B, 5]
    by_weight = np.einsum("bmd,bd->m", out["orders"], lit @ np.asarray(w1).T)
    slope = soft * (by_weight - soft @ by_weight)
    np.testing.assert_allclose(grads["gate"], slope, rtol=1e-3, atol=1e-5)


def test_only_a_modality_that_a_row_has_is_primary():
    batch = {**BATCH, "text_mask": BATCH["text_mask"].copy()}
    batch["text_mask"][:2] = False
    batch["text"] = BATCH["text"] * batch["text_mask"][..., None]
    out, _ = run([3.0, 1.0, 2.0], batch)
    np.testing.assert_array_equal(out["weights"].argmax(1), [2, 2, 0, 0, 0, 0])
    bare = {m: np.zeros_like(batch[f"{m}_mask"]) for m in ("text", "audio", "vision")}
    out, grads = run(
        [3.0, 1.0, 2.0], {**batch, **{f"{m}_mask": x for m, x in bare.items()}}
    )
    assert not np.any(out["weights"]) and not np.any(out["fusion"])
    assert all(np.isfinite(x).all() for x in grads.values())


def test_attention_is_given_out_with_a_row_for_each_utterance():
    out, _ = run([3.0, 1.0, 2.0])
    (weights,) = out["inside"]["memory"]["layers"]["attention"]["attention"]
    # Each row attends to its own steps, which differ from row to row.
    masks = np.stack([BATCH[f"{m}_mask"] for m in ("text", "audio", "vision")])
    assert len({row.tobytes() for row in masks.swapaxes(0, 1)}) > 1
    # Orders, layers, rows, heads, queries, keys.
    seen = np.broadcast_to(masks[:, None, :, None, None], (3, 1, 6, 2, 4, 4))
    np.testing.assert_array_equal(weights > 0, seen)


def test_of_two_modalities_each_reads_the_other_and_a_row_may_mix_them():
    spec = Spec((5, 1, 4), (4, 1, 4), 6)
    model = HCTMG(spec, **SIZES, gate="row", hard=False)
    state = step.init(model, random_bits.key(0))
    apply = jax.jit(functools.partial(model.apply, train=False))
    out = jax.device_get(apply(step.variables(state), spec.example(6, seed=1)))
    assert state.params["gate/kernel"].shape == (8, 2)
    assert not any(k.startswith(("auxiliary", "project_audio")) for k in state.params)
    np.testing.assert_allclose(out["weights"].sum(1), 1, rtol=1e-6)
    assert np.ptp(out["weights"], axis=0).max() > 1e-3
    mixed = np.einsum("bm,bmd->bd", out["weights"], out["orders"])
    np.testing.assert_allclose(out["fusion"], mixed, atol=1e-6)


def test_what_is_no_choice_is_refused():
    alone = HCTMG(Spec((5, 1, 1), (4, 1, 1), 6), **SIZES)
    with pytest.raises(ValueError, match="hct_mg compares modalities"):
        step.shapes(alone)
    with pytest.raises(ValueError, match='config.model.gate is "rows"'):
        step.shapes(HCTMG(SPEC, **SIZES, gate="rows"))


def test_it_has_less_than_a_million_parameters():
    options = recipe.load("hct_mg:mosei")
    spec = Spec(options.data.dims, options.data.lengths, 6)
    found = step.shapes(HCTMG(spec, **options.model)).params
    assert 1e5 < sum(np.prod(x.shape) for x in found.values()) < 1e6
