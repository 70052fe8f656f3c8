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
from tests import random_bits

SPEC = Spec((5, 1, 4), (4, 1, 6), 6)  # no audio: it would be read as vision is
SIZES = dict(dim=4, layers=1, heads=2, hidden=5, adapter_dim=3, out_dim=6, dropout=0.0)
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
    """A system, its parameters, and jitted losses in training with their gradients."""
    model = ConKI(SPEC, **SIZES)
    params = step.init(model, random_bits.key(0)).params

    def run(params, batch, method):
        variables = step.variables(step.State(params, {}, {}))
        options = dict(train=True, progress={}, method=method)
        return model.apply(variables, batch, **options)

    jitted = jax.jit(jax.value_and_grad(run, has_aux=True), static_argnums=2)
    return model, params, jitted


def test_the_knowledge_is_of_the_specific_representations_alone():
    _, params, run = ready()
    _, grads = run(params, SPEC.example(6), "knowledge_loss")
    for path, grad in grads.items():
        assert np.any(grad) != path.startswith("out/"), path
    (total, terms), grads = run(params, SPEC.example(6), "loss")
    np.testing.assert_allclose(total, terms["task"] + 0.1 * terms["contrast"], 1e-5)
    for path, grad in grads.items():
        assert np.any(grad) != path.startswith("knowledge_"), path


def test_a_row_without_a_modality_has_no_part_in_its_knowledge():
    _, params, run = ready()
    batch = SPEC.example(6)
    batch["vision_mask"][:5] = False
    batch["vision"] *= batch["vision_mask"][..., None]
    _, grads = run(params, batch, "knowledge_loss")
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
