"""HyDiscGAN: what is generated and from what, the three losses, and what each phase trains."""

import dataclasses
import functools
import re

import flax.linen as nn
import jax
import numpy as np
import pytest
from flax import traverse_util

from msajax.data.spec import Spec
from msajax.models.hydiscgan import HyDiscGAN
from msajax.nn.dropout import Dropout
from msajax.run import recipe
from msajax.train import step
from tests import random_bits, toys
from tests.models import quick

SPEC = Spec((5, 3, 4), (4, 6, 7), 6)
SIZES = dict(dim=4, steps=3, heads=2, hidden=5, out_dim=5, dropout=0.0)
BATCH = SPEC.example(6, seed=1)


@functools.cache
def ready():
    """Parameters, and what applies the system, or a method of it, in training."""
    model = HyDiscGAN(SPEC, **SIZES, noise=0.0, alignment=0.3, contrast=0.7)

    def apply(params, batch, key, *, noise=0.0, **options):
        variables = step.variables(step.State(params, {}, {}))
        rngs = None if key is None else {"params": key}
        return model.clone(noise=noise).apply(variables, batch, rngs=rngs, **options)

    return quick.parameters(model), apply


@jax.jit
def traced(params, batch, key, noise):
    """What is generated, predictions, and all three losses with their terms."""

    def run(self, batch):
        made = quick.computed_once(self, batch, "_generate", read=True, noisy=True)
        with made, quick.computed_once(self, batch) as out:
            losses = {
                name: getattr(self, name)(batch, train=True, progress={})
                for name in ("discriminator_loss", "generator_loss", "loss")
            }
        return {"fake": out["fake"], "pred": out["pred"], **losses}

    _, apply = ready()
    return apply(params, batch, key, noise=noise, method=run)


def run(params, batch, key=3, noise=0.0):
    found = traced(params, batch, random_bits.key(key), np.float32(noise))
    return jax.device_get(found)


def test_a_generator_without_noise_is_deterministic():
    params, _ = ready()
    for noise in (0.0, 0.5):
        first, second = (run(params, BATCH, key, noise) for key in (3, 4))
        assert first["fake"].shape == (2, 6, 3, 4)
        apart = np.abs(first["fake"] - second["fake"]).max(axis=(1, 2, 3))
        moved = np.abs(first["pred"] - second["pred"])
        assert (np.all(apart > 0.01) and np.all(moved > 0)) == bool(noise)
        assert (apart.any() or moved.any()) == bool(noise)


def test_the_text_alone_is_needed():
    params, _ = ready()
    bare = dict(BATCH)
    for m in ("audio", "vision"):
        bare[m], bare[f"{m}_mask"] = (0 * BATCH[k] for k in (m, f"{m}_mask"))
        bare[f"{m}_mask"] = bare[f"{m}_mask"].astype(bool)
    found, wanted = (run(params, b) for b in (bare, BATCH))
    for key in ("fake", "pred"):
        np.testing.assert_array_equal(found[key], wanted[key])
    other = {**BATCH, "text": BATCH["text"][::-1]}
    assert np.any(run(params, other)["fake"] != wanted["fake"])


def test_the_losses_are_sums_of_their_terms():
    params, _ = ready()
    found = run(params, BATCH)
    judged, judgement = found["discriminator_loss"]
    np.testing.assert_allclose(judged, judgement["real"] + judgement["fake"], 1e-6)
    generated, parts = found["generator_loss"]
    total, terms = found["loss"]
    contrast = parts["pairs"] + parts["sentiment"]
    np.testing.assert_allclose(generated, parts["deceit"] + 0.7 * contrast, 1e-6)
    np.testing.assert_allclose(total, terms["task"] + 0.3 * generated, 1e-6)


def test_a_discriminator_that_knows_nothing_has_the_entropy_of_a_coin():
    params, _ = ready()
    last = "discriminator/out/fc2/"
    blind = {k: 0 * v if k.startswith(last) else v for k, v in params.items()}
    found = run(blind, BATCH)
    coin = 2 * np.log(2)  # of two modalities
    _, judgement = found["discriminator_loss"]
    _, parts = found["generator_loss"]
    for value in (judgement["real"], judgement["fake"], parts["deceit"]):
        np.testing.assert_allclose(value, coin, rtol=1e-6)
    # One that takes all for real errs on what is generated, and is deceived.
    sure = {**blind, f"{last}bias": blind[f"{last}bias"] + 30}
    found = run(sure, BATCH)
    _, judgement = found["discriminator_loss"]
    _, parts = found["generator_loss"]
    values = judgement["real"], judgement["fake"], parts["deceit"]
    np.testing.assert_allclose(values, [0, 60, 0], atol=1e-5)


def test_the_phases_divide_the_parameters():
    params, _ = ready()
    plan = {p.name: p for p in recipe.load("hydiscgan:demo").plan}
    assert [*plan] == ["discriminators", "generators", "main"]
    trained = {
        name: {k for k in params if re.fullmatch(phase.train, k)}
        for name, phase in plan.items()
    }
    assert trained["main"] == params.keys() - trained["discriminators"]
    assert not trained["generators"] & trained["discriminators"]


def test_what_a_phase_leaves_as_it_is_runs_without_dropout():
    bert = dataclasses.replace(
        toys.BERT,
        num_hidden_layers=1,
        hidden_dropout_prob=0.1,
        attention_probs_dropout_prob=0.1,
    )
    spec = dataclasses.replace(SPEC, fields=(*SPEC.fields, "text_ids", "text_type"))
    model = HyDiscGAN(spec, encoder=bert, **{**SIZES, "dropout": 0.1})
    variables, batch = step.variables(step.shapes(model)), spec.example(6)
    seen = set()

    def note(method, args, options, context):
        if isinstance(context.module, Dropout) and context.method_name == "words":
            seen.add(context.module.path[0])
        return method(*args, **options)

    for phase in recipe.load("hydiscgan:demo").plan:
        given = dict(train=True, progress={}, method=phase.loss)
        seen.clear()
        with nn.intercept_methods(note):
            jax.eval_shape(
                lambda v, given=given: model.apply(
                    v, batch, rngs={"params": random_bits.key(0)}, **given
                ),
                variables,
            )
        parts = {"encoder", "generator", "discriminator", "attend", "out"}
        assert seen == {k for k in parts if re.fullmatch(phase.train, f"{k}/x")}, phase


def test_attention_is_given_out_with_a_row_for_each_utterance():
    _, apply = ready()
    options = dict(train=False, mutable=["intermediates"])
    run = functools.partial(apply, batch=BATCH, key=None, **options)
    _, state = jax.eval_shape(run, ready()[0])
    found = traverse_util.flatten_dict(state["intermediates"], sep="/")
    # Modalities, rows, heads, queries, keys: of 3 steps and 4 words.
    sizes = {"/".join(k.split("/")[:-1]): x.shape for k, (x,) in found.items()}
    assert sizes == {
        "generator/decoder/read_0": (2, 6, 2, 3, 4),
        "generator/decoder/layer_0/attention": (2, 6, 2, 3, 3),
        "attend/read_0": (2, 6, 2, 4, 3),
        "attend/layer_0/attention": (2, 6, 2, 4, 4),
    }


@pytest.mark.slow
def test_each_phase_has_gradients_of_what_it_trains():
    params, apply = ready()

    def loss(params, batch, method):
        options = dict(train=True, progress={}, method=method)
        return apply(params, batch, random_bits.key(3), **options)

    gradient = jax.jit(jax.grad(loss, has_aux=True), static_argnums=2)
    plan = {p.name: p for p in recipe.load("hydiscgan:demo").plan}
    for name in ("discriminators", "generators"):
        grads, _ = gradient(params, BATCH, plan[name].loss)
        for path in params:
            if re.fullmatch(plan[name].train, path):
                assert np.any(grads[path]), path
            elif name == "discriminators" or path.startswith(("out/", "attend/")):
                assert not np.any(grads[path]), path


def test_a_row_without_a_modality_is_not_compared():
    params, _ = ready()
    short = dict(BATCH)
    for m, rows in (("audio", 6), ("vision", 5)):
        short[f"{m}_mask"] = BATCH[f"{m}_mask"].copy()
        short[f"{m}_mask"][:rows] = False
    odd = {**short, "vision": BATCH["vision"].copy()}
    odd["vision"][:5] = 9
    last = {**short, "valid": np.arange(6) == 5}
    wanted, *others = (run(params, batch) for batch in (last, short, odd))
    for found in others:
        for name in ("discriminator_loss", "generator_loss"):
            np.testing.assert_allclose(found[name][0], wanted[name][0], rtol=1e-6)
    assert wanted["discriminator_loss"][0] > 0


def test_without_text_there_is_nothing_to_generate_from():
    with pytest.raises(
        ValueError, match="generates the other modalities from the text"
    ):
        step.shapes(HyDiscGAN(Spec((1, 3, 4), (1, 6, 7), 6), **SIZES))
