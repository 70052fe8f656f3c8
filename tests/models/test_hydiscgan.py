"""HyDiscGAN: what is generated and from what, the three losses, and what each phase trains."""

import functools
import re

import jax
import numpy as np
import pytest

from msajax.data.spec import Spec
from msajax.models.hydiscgan import HyDiscGAN
from msajax.run import recipe
from msajax.train import step
from tests import random_bits

SPEC = Spec((5, 3, 4), (4, 6, 7), 6)
SIZES = dict(dim=4, steps=3, heads=2, hidden=5, out_dim=5, dropout=0.0)
BATCH = SPEC.example(6, seed=1)


@functools.cache
def ready():
    """Parameters, jitted outputs in training by key and noise, and what applies a method."""
    model = HyDiscGAN(SPEC, **SIZES, noise=0.0, alignment=0.3, contrast=0.7)
    params = jax.device_get(step.init(model, random_bits.key(0)).params)

    def apply(model, params, batch, key, **options):
        variables = step.variables(step.State(params, {}, {}))
        return model.apply(
            variables, batch, rngs={"params": key}, train=True, **options
        )

    @jax.jit
    def run(params, batch, key, noise=0.0):
        out = apply(model.clone(noise=noise), params, batch, key)
        return {k: out[k] for k in ("fake", "pred")}

    return params, run, functools.partial(apply, model)


def loss(params, batch, method):
    _, _, apply = ready()
    return apply(params, batch, random_bits.key(3), progress={}, method=method)


@jax.jit
def losses(params, batch):
    """All three, with their terms."""
    names = "discriminator_loss", "generator_loss", "loss"
    return {name: loss(params, batch, name) for name in names}


def test_a_generator_without_noise_is_deterministic():
    keys = random_bits.key(3), random_bits.key(4)
    params, run, _ = ready()
    for noise in (0.0, 0.5):
        first, second = (run(params, BATCH, key, noise) for key in keys)
        assert first["fake"].shape == (2, 6, 3, 4)
        apart = np.abs(first["fake"] - second["fake"]).max(axis=(1, 2, 3))
        moved = np.abs(first["pred"] - second["pred"])
        assert (np.all(apart > 0.01) and np.all(moved > 0)) == bool(noise)
        assert (apart.any() or moved.any()) == bool(noise)


def test_the_text_alone_is_needed():
    params, run, _ = ready()
    bare = dict(BATCH)
    for m in ("audio", "vision"):
        bare[m], bare[f"{m}_mask"] = (0 * BATCH[k] for k in (m, f"{m}_mask"))
        bare[f"{m}_mask"] = bare[f"{m}_mask"].astype(bool)
    found, wanted = (run(params, b, random_bits.key(3)) for b in (bare, BATCH))
    jax.tree.map(np.testing.assert_array_equal, found, wanted)
    other = {**BATCH, "text": BATCH["text"][::-1]}
    assert np.any(run(params, other, random_bits.key(3))["fake"] != wanted["fake"])


def test_the_losses_are_sums_of_their_terms():
    params, _, _ = ready()
    found = losses(params, BATCH)
    judged, judgement = found["discriminator_loss"]
    np.testing.assert_allclose(judged, judgement["real"] + judgement["fake"], 1e-6)
    generated, parts = found["generator_loss"]
    total, terms = found["loss"]
    contrast = parts["pairs"] + parts["sentiment"]
    np.testing.assert_allclose(generated, parts["deceit"] + 0.7 * contrast, 1e-6)
    np.testing.assert_allclose(total, terms["task"] + 0.3 * generated, 1e-6)


def test_a_discriminator_that_knows_nothing_has_the_entropy_of_a_coin():
    params, _, _ = ready()
    last = "discriminator/out/fc2/"
    blind = {k: 0 * v if k.startswith(last) else v for k, v in params.items()}
    found = losses(blind, BATCH)
    coin = 2 * np.log(2)  # of two modalities
    _, judgement = found["discriminator_loss"]
    _, parts = found["generator_loss"]
    for value in (judgement["real"], judgement["fake"], parts["deceit"]):
        np.testing.assert_allclose(value, coin, rtol=1e-6)
    # One that takes all for real errs on what is generated, and is deceived.
    sure = {**blind, f"{last}bias": blind[f"{last}bias"] + 30}
    found = losses(sure, BATCH)
    _, judgement = found["discriminator_loss"]
    _, parts = found["generator_loss"]
    values = judgement["real"], judgement["fake"], parts["deceit"]
    np.testing.assert_allclose(values, [0, 60, 0], atol=1e-5)


def test_the_phases_divide_the_parameters():
    params, _, _ = ready()
    plan = {p.name: p for p in recipe.load("hydiscgan:demo").plan}
    assert [*plan] == ["discriminators", "generators", "main"]
    trained = {
        name: {k for k in params if re.fullmatch(phase.train, k)}
        for name, phase in plan.items()
    }
    assert trained["main"] == params.keys() - trained["discriminators"]
    assert not trained["generators"] & trained["discriminators"]


@pytest.mark.slow
def test_each_phase_has_gradients_of_what_it_trains():
    params, _, _ = ready()
    gradient = jax.jit(jax.grad(loss, has_aux=True), static_argnums=2)
    plan = {p.name: p for p in recipe.load("hydiscgan:demo").plan}
    for name in ("discriminators", "generators"):
        grads, _ = gradient(params, BATCH, plan[name].loss)
        for path in params:
            if re.fullmatch(plan[name].train, path):
                assert np.any(grads[path]), path
            elif path.startswith(("out/", "attend/")):
                assert not np.any(grads[path]), path


def test_a_row_without_a_modality_is_not_compared():
    params, _, _ = ready()
    short = dict(BATCH)
    for m, rows in (("audio", 6), ("vision", 5)):
        short[f"{m}_mask"] = BATCH[f"{m}_mask"].copy()
        short[f"{m}_mask"][:rows] = False
    odd = {**short, "vision": BATCH["vision"].copy()}
    odd["vision"][:5] = 9
    last = {**short, "valid": np.arange(6) == 5}
    wanted, *others = (losses(params, batch) for batch in (last, short, odd))
    for found in others:
        for name in ("discriminator_loss", "generator_loss"):
            np.testing.assert_allclose(found[name][0], wanted[name][0], rtol=1e-6)
    assert wanted["discriminator_loss"][0] > 0


def test_without_text_there_is_nothing_to_generate_from():
    with pytest.raises(
        ValueError, match="generates the other modalities from the text"
    ):
        step.shapes(HyDiscGAN(Spec((1, 3, 4), (1, 6, 7), 6), **SIZES))
