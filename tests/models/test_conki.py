"""ConKI: its contrast by hand, what each loss trains, and adapters that fit other data."""

import functools
import re

import jax
import numpy as np
import pytest

from msajax.data.spec import Spec
from msajax.models.conki import ConKI, knowledge_contrast
from msajax.run import recipe
from msajax.train import step
from tests.models import quick

SPEC = Spec((5, 1, 4), (4, 1, 6), 6)  # no audio: it would be read as vision is
SIZES = dict(dim=4, layers=1, heads=2, hidden=5, adapter_dim=3, out_dim=6, dropout=0.0)
BATCH = SPEC.example(6)
rng = np.random.default_rng(0)
GENERAL, SPECIFIC = np.float32(rng.normal(size=(2, 5, 3, 4)))
GROUP = np.array([0, 1, 0, 2, 1], np.int32)


@functools.partial(jax.jit, static_argnames="temperature")
def contrast(general, specific, group, where, temperature=0.5):
    return knowledge_contrast(
        general, specific, group, where=where, temperature=temperature
    )


def by_hand(where):
    vectors = [
        (x[i, m] / np.linalg.norm(x[i, m]), kind, GROUP[i])
        for kind, x in enumerate((GENERAL, SPECIFIC))
        for i in range(5)
        for m in range(3)
        if where[i, m]
    ]
    found = []
    for a, (v, kind, group) in enumerate(vectors):
        others = [x for b, x in enumerate(vectors) if b != a]
        scores = np.exp([v @ u / 0.5 for u, _, _ in others])
        hits = [k == kind and g == group for _, k, g in others]
        if any(hits):
            found.append(-np.log(scores / scores.sum())[hits].mean())
    return np.mean(found)


@pytest.mark.parametrize("missing", [0, 4])
def test_the_contrast_is_its_definition(missing):
    where = np.ones((5, 3), bool)
    where.ravel()[:missing] = False  # the first row, and one of the second's
    found = contrast(GENERAL, SPECIFIC, GROUP, where)
    np.testing.assert_allclose(found, by_hand(where), rtol=1e-5)
    noise = np.where(where[..., None], GENERAL, 9)
    np.testing.assert_allclose(contrast(noise, SPECIFIC, GROUP, where), found, 1e-5)


def test_kinds_and_groups_that_are_apart_have_less_contrast():
    where = np.ones((5, 3), bool)
    ways = np.eye(6, dtype=np.float32)
    general = np.repeat(ways[GROUP][:, None], 3, 1)
    specific = np.repeat(ways[3 + GROUP][:, None], 3, 1)
    apart = contrast(general, specific, GROUP, where, 0.05)
    assert 0 < apart < contrast(general, general, GROUP, where, 0.05)
    assert contrast(general, specific, GROUP, ~where) == 0


@functools.cache
def ready():
    """Parameters, and jitted (params, batch, weights) -> (gradient of the losses' weighted sum, (losses, terms))."""
    model = ConKI(SPEC, **SIZES)

    def losses(self, batch):
        options = dict(train=True, progress={})
        with quick.computed_once(self, batch):
            total, terms = self.loss(batch, **options)
            knowledge, _ = self.knowledge_loss(batch, **options)
        return dict(loss=total, knowledge_loss=knowledge), terms

    def weighted(params, batch, weights):
        variables = step.variables(step.State(params, {}, {}))
        found, terms = model.apply(variables, batch, method=losses)
        return sum(weights[k] * x for k, x in found.items()), (found, terms)

    return quick.parameters(model), jax.jit(jax.grad(weighted, has_aux=True))


def gradient(batch, name):
    """Gradient of a loss, and its value and terms."""
    params, run = ready()
    weights = {k: np.float32(k == name) for k in ("loss", "knowledge_loss")}
    grads, (found, terms) = jax.device_get(run(params, batch, weights))
    return grads, found[name], terms


def test_the_knowledge_is_of_the_specific_representations_alone():
    grads, _, _ = gradient(BATCH, "knowledge_loss")
    for path, grad in grads.items():
        assert np.any(grad) != path.startswith("out/"), path
    grads, total, terms = gradient(BATCH, "loss")
    np.testing.assert_allclose(total, terms["task"] + 0.1 * terms["contrast"], 1e-5)
    for path, grad in grads.items():
        assert np.any(grad) != path.startswith("knowledge_"), path


def test_padded_steps_have_no_part():
    """Also in the adapters' Transformer."""
    noise = dict(BATCH)
    for m in ("text", "vision"):
        noise[m] = np.where(BATCH[f"{m}_mask"][..., None], BATCH[m], np.float32(7))
    assert any(np.any(noise[m] != BATCH[m]) for m in ("text", "vision"))
    for name in ("loss", "knowledge_loss"):
        (_, found, _), (_, wanted, _) = (gradient(x, name) for x in (noise, BATCH))
        np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_a_row_without_a_modality_has_no_part_in_its_knowledge():
    batch = {**BATCH, "vision_mask": BATCH["vision_mask"].copy()}
    batch["vision_mask"][:5] = False
    batch["vision"] = batch["vision"] * batch["vision_mask"][..., None]
    grads, _, _ = gradient(batch, "knowledge_loss")
    # The mean of two modalities; of one row the slope of |x - y| is 1 or -1.
    np.testing.assert_allclose(abs(grads["knowledge_vision/bias"]), 0.5, rtol=1e-5)


def test_adapters_fit_data_of_other_widths():
    regex = recipe.load("conki:mosi/injected").init_parameters
    other = Spec((7, 1, 9), (4, 1, 6), 6)
    ours, theirs = (step.shapes(ConKI(s, **SIZES)).params for s in (SPEC, other))
    taken = {k for k in ours if re.fullmatch(regex, k)}
    assert {k: ours[k].shape for k in taken} == {k: theirs[k].shape for k in taken}
    assert (
        taken == {k for k in ours if k.startswith(("adapter_", "backbone_"))} != set()
    )
    assert ours["project_text/kernel"].shape != theirs["project_text/kernel"].shape
