"""FDMER: its losses by hand, the reversed gradient, and what rows without a modality weigh."""

import functools

import jax
import numpy as np
import pytest

from msajax.data.spec import Spec
from msajax.models.fdmer import FDMER, hsic, reverse_gradient
from msajax.train import step
from tests.models import quick

SPEC = Spec((5, 1, 4), (4, 1, 6), 6)  # no audio: it would be read as vision is
SIZES = dict(dim=6, hidden=5, heads=2, dropout=0.0)
WEIGHTS = dict(adversarial=0.7, consistency=0.2, disparity=0.4)
rng = np.random.default_rng(0)


@functools.cache
def ready():
    """Parameters, and jitted (params, batch) -> (outputs, loss, its terms, gradient of the adversarial one)."""
    model = FDMER(SPEC, **SIZES, **WEIGHTS)

    def losses(self, batch):
        with quick.computed_once(self, batch) as out:
            return out, *self.loss(batch, train=True, progress={})

    def run(params, batch):
        def adversarial(params):
            variables = step.variables(step.State(params, {}, {}))
            found = model.apply(variables, batch, method=losses)
            return found[-1]["adversarial"], found

        grads, found = jax.grad(adversarial, has_aux=True)(params)
        return *found, grads

    return quick.parameters(model), jax.jit(run)


def found(batch, **changes):
    params, run = ready()
    return jax.device_get(run({**params, **changes}, batch))


def short_of(batch, m, rows):
    """The batch whose first rows lack a modality."""
    mask = batch[f"{m}_mask"].copy()
    mask[:rows] = False
    return {**batch, f"{m}_mask": mask, m: batch[m] * mask[..., None]}


def test_the_loss_is_the_weighted_sum():
    out, total, terms, _ = found(SPEC.example(6))
    wanted = terms["task"] + sum(w * terms[k] for k, w in WEIGHTS.items())
    np.testing.assert_allclose(total, wanted, rtol=1e-5)
    c = np.asarray(out["common"])
    apart = np.square(c[:, 0] - c[:, 1]).mean()
    np.testing.assert_allclose(terms["consistency"], apart, rtol=1e-5)
    logits = np.asarray(out["modality"])
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    named = -np.log(p[:, np.arange(4), np.arange(4) % 2])
    np.testing.assert_allclose(terms["adversarial"], 2 * named.mean(), rtol=1e-5)
    np.testing.assert_allclose(out["weights"].sum(1), 1, rtol=1e-5)


@jax.jit
def compared(out, batch):
    """The regularisers by each pair of forms."""
    forms = ("squared", "orthogonal"), ("cosine", "hsic")
    fields = [dict(consistency_form=c, disparity_form=d) for c, d in forms]
    return [FDMER(SPEC, **SIZES, **f).regularisers(out, batch) for f in fields]


def test_equal_representations_are_consistent_and_orthogonal_ones_differ():
    batch = SPEC.example(6)
    one = np.float32(rng.normal(size=(6, 1, 6)))
    out = dict(common=np.repeat(one, 2, 1), private=np.zeros((6, 2, 6), np.float32))
    out["modality"] = np.zeros((6, 4, 2), np.float32)
    for terms in compared(out, batch):
        np.testing.assert_allclose(terms["consistency"], 0, atol=1e-5)
        assert terms["disparity"] < 1e-6
        np.testing.assert_allclose(terms["adversarial"], 2 * np.log(2), rtol=1e-5)
    out["private"] = out["common"]
    for terms in compared(out, batch):
        assert terms["disparity"] > 1e-3


def test_the_common_encoder_works_against_the_discriminator():
    """A step down the gradient makes it better for all but the common encoder, for that worse."""
    batch, (params, _) = SPEC.example(6), ready()
    *_, grads = found(batch)

    def after(*names):
        moved = {
            k: params[k] - 0.01 * g
            for k, g in grads.items()
            if k.split("/")[0] in names
        }
        assert moved or not names
        return found(batch, **moved)[2]["adversarial"]

    before = after()
    assert after("discriminator") < before and after("private_text") < before
    assert after("common") > before


def test_the_reversed_gradient():
    x = np.float32(rng.normal(size=4))

    @jax.jit
    def run(x):
        slope = jax.grad(lambda x: (reverse_gradient(x) ** 2).sum())(x)
        return reverse_gradient(x), slope

    same, slope = run(x)
    np.testing.assert_array_equal(same, x)
    np.testing.assert_allclose(slope, -2 * x, rtol=1e-6)


def test_what_a_row_lacks_has_no_part():
    out, _, terms, _ = found(short_of(SPEC.example(6), "vision", 5))
    assert not out["weights"][:5, [1, 3]].any()
    np.testing.assert_allclose(out["weights"].sum(1), 1, rtol=1e-5)
    c = np.asarray(out["common"])
    apart = np.square(c[5, 0] - c[5, 1]).mean()
    np.testing.assert_allclose(terms["consistency"], apart, rtol=1e-5)


@functools.partial(jax.jit, static_argnames="bandwidth")
def dependence(x, y, where, bandwidth=1.5):
    return hsic(x, y, where=where, bandwidth=bandwidth)


def test_hsic_is_its_definition():
    x, y = np.float32(rng.normal(size=(2, 9, 3)))
    where = np.arange(9) < 7

    def kernel(v):
        square = np.square(v[:7, None] - v[None, :7]).sum(-1)
        return np.exp(-square / (2 * 1.5**2))

    h = np.eye(7) - 1 / 7
    wanted = np.trace(kernel(x) @ h @ kernel(y) @ h) / 36
    found = dependence(x, y, where)
    np.testing.assert_allclose(found, wanted, rtol=1e-4)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    np.testing.assert_allclose(dependence(np.float32(x @ turn), y, where), wanted, 1e-4)
    np.testing.assert_allclose(dependence(x, np.ones_like(y), where), 0, atol=1e-6)
    assert dependence(x, x, where) > found and dependence(x, y, ~where | True) >= 0
    assert dependence(x, y, where & False) == 0


def test_one_modality_is_refused():
    with pytest.raises(ValueError, match="compares modalities, but the data has text"):
        step.shapes(FDMER(Spec((5, 1, 1), (4, 1, 1), 6), **SIZES))
