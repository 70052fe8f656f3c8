"""AMML: what the inner step does and does not, and its derivatives."""

import functools

import jax
import numpy as np
import pytest

from msajax.data.spec import Spec
from msajax.models.amml import AMML
from msajax.train import step
from tests import random_bits

SPEC = Spec((5, 1, 4), (4, 1, 6), 12)  # no audio: it would be learned as vision is
SIZES = dict(hidden=3, dim=4, out_dim=5, dropout=0.0)
BATCH = SPEC.example(12, seed=1)
SUPPORT = BATCH["index"] % 2 == 0
WEIGHTS = dict(unimodal=0.3, divergence=0.2)


@functools.cache
def model_of(**fields):
    return AMML(SPEC, **SIZES, **WEIGHTS, inner_rate=0.02, **fields)


@functools.cache
def initial():
    return jax.device_get(step.init(model_of(), random_bits.key(0)).params)


@functools.cache
def compiled():
    """Jitted (params, batch, step) -> ((loss, terms), its gradient), and that of the first order."""

    def loss(params, batch, number, model):
        return model.apply(
            step.variables(step.State(params, {}, {})),
            batch,
            train=True,
            progress={"step": number},
            method="loss",
            rngs={"params": random_bits.key(3)},
        )

    def run(params, *args):
        models = model_of(), model_of(first_order=True)
        slope = jax.value_and_grad(loss, has_aux=True)
        return [slope(params, *args, model) for model in models]

    return jax.jit(run)


def trained(params, batch, *, number=0, first_order=False):
    found = compiled()(params, batch, np.int32(number))
    return jax.device_get(found[first_order])


def with_rates(value):
    rates = {k: np.float32(value) for k in initial() if k.startswith("rate_")}
    assert len(rates) == 2
    return {**initial(), **rates}


@jax.jit
def plain(params, batch):
    """The same losses without any adaptation, and their gradient."""

    def loss(params):
        def run(self):
            out = self(batch, train=False)
            h = {m: out[m] for m in self.learner}
            pred, _, divergence = self.fuse(h, train=True)
            own = sum(
                (abs(out[f"pred_{m}"] - batch["label"]) * SUPPORT).sum() for m in h
            )
            fused = (abs(pred - batch["label"]) * ~SUPPORT).sum() / 6
            divergence = (divergence * ~SUPPORT).sum() / 6
            return fused + 0.3 * own / 6 + 0.2 * divergence

        variables = step.variables(step.State(params, {}, {}))
        rngs = {"params": random_bits.key(3)}
        return model_of().apply(variables, method=run, rngs=rngs)

    return jax.value_and_grad(loss)(params)


def test_without_a_rate_it_is_plain_training():
    params = with_rates(-np.inf)
    (loss, _), grads = trained(params, BATCH)
    wanted, slopes = jax.device_get(plain(params, BATCH))
    np.testing.assert_allclose(loss, wanted, rtol=1e-5)
    for path in initial().keys() - {"rate_text", "rate_vision"}:
        np.testing.assert_allclose(grads[path], slopes[path], atol=1e-5, err_msg=path)
        assert not path.startswith("learner") or np.any(grads[path])


def test_an_inner_step_is_against_the_gradient_of_the_support():
    """A learner that predicts too low on the support is adapted to higher predictions of all rows."""
    params = with_rates(np.log(0.05))
    bias = "learner_text/predict/bias"
    low = {**params, bias: params[bias] - 9}
    (_, terms), grads = trained(low, BATCH)
    assert terms["unimodal"] > 8
    # What adapts the text's representation is the support alone: labels of the query do not.
    label = np.where(SUPPORT, BATCH["label"], BATCH["label"] + 1)
    (_, other), _ = trained(low, {**BATCH, "label": label.astype(np.float32)})
    np.testing.assert_allclose(other["unimodal"], terms["unimodal"], rtol=1e-6)
    np.testing.assert_allclose(other["divergence"], terms["divergence"], rtol=1e-6)
    label = np.where(SUPPORT, -BATCH["label"] - 30, BATCH["label"])
    (_, moved), _ = trained(low, {**BATCH, "label": label.astype(np.float32)})
    assert abs(moved["divergence"] - terms["divergence"]) > 1e-4
    assert np.any(grads["rate_text"]) and np.any(grads["rate_vision"])


def test_gradients_are_those_of_finite_differences():
    """Also through the gradient of the inner step."""
    params = with_rates(np.log(0.5))
    _, grads = trained(params, BATCH)
    rng = np.random.default_rng(0)
    names = [k for k in params if k.startswith(("learner", "rate"))]
    way = {k: np.float32(rng.normal(size=np.shape(params[k]))) for k in names}
    slope = sum(np.sum(way[k] * grads[k]) for k in names)
    ends = [
        trained({**params, **{k: params[k] + s * way[k] for k in names}}, BATCH)[0][0]
        for s in (-2e-3, 2e-3)
    ]
    np.testing.assert_allclose((ends[1] - ends[0]) / 4e-3, slope, rtol=0.02)
    first = trained(params, BATCH, first_order=True)
    np.testing.assert_allclose(first[0][0], trained(params, BATCH)[0][0], rtol=1e-6)
    apart = [np.abs(first[1][k] - grads[k]).max() for k in names]
    assert max(apart) > 1e-3


def test_a_rows_half_changes_from_step_to_step():
    def unimodal(batch, number):
        return trained(initial(), batch, number=number)[0][1]["unimodal"]

    label = np.where(SUPPORT, BATCH["label"], 99.0).astype(np.float32)
    assert (
        unimodal({**BATCH, "label": label}, 0)
        < 20
        < unimodal({**BATCH, "label": label}, 1)
    )


def test_the_first_rate_is_the_recipes():
    params = initial()
    assert np.exp(params["rate_text"]) == pytest.approx(0.02)
    assert not any("audio" in name for name in params)
