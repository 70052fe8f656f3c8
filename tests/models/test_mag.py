"""MAG-BERT and MAG-XLNet: where audio and vision come in, and on which steps."""

import functools

import jax
import numpy as np
import pytest

from msajax.data.spec import Spec
from msajax.models.mag_bert import MAGBert
from msajax.models.mag_xlnet import MAGXLNet
from msajax.weights import template
from tests import random_bits
from tests.toys import BERT, XLNET

SPEC = Spec((1, 3, 4), (5, 5, 5), 4, fields=(*Spec.fields, "text_ids", "text_type"))
SYSTEMS = [(MAGBert, BERT, 0), (MAGXLNet, XLNET, 1)]


@functools.cache
def ready(system, config):
    """Random variables and jitted outputs in evaluation."""
    model, rng = system(SPEC, encoder=config), np.random.default_rng(0)
    variables = jax.tree.map(
        lambda leaf: rng.normal(0, 0.4, leaf.shape).astype(np.float32),
        template(model, SPEC.example(2), train=False),
    )
    return variables, jax.jit(functools.partial(model.apply, train=False))


@pytest.mark.parametrize("system,config,place", SYSTEMS)
@pytest.mark.parametrize("modality", ["audio", "vision"])
def test_a_step_shifts_its_own_piece_behind_the_gate(system, config, place, modality):
    variables, run = ready(system, config)
    batch = SPEC.example(2)
    for name in ("text_mask", "audio_mask", "vision_mask"):
        batch[name] = np.ones((2, 5), bool)
    before = run(variables, batch)
    changed = batch[modality].copy()
    changed[:, 2] += 1
    after = run(variables, {**batch, modality: changed})
    for i, (old, new) in enumerate(zip(before["hidden"], after["hidden"], strict=True)):
        moved = np.abs(np.asarray(new) - old).max(axis=-1) > 1e-6
        if i < place:
            assert not moved.any()
        elif i == place:
            assert moved[:, 2].all() and not np.delete(moved, 2, axis=1).any()
        else:
            assert moved.all()


@pytest.mark.parametrize("system,config,place", SYSTEMS)
def test_steps_that_no_piece_has(system, config, place):
    longer = Spec(SPEC.dims, (5, 7, 5), 4, fields=SPEC.fields)
    with pytest.raises(ValueError, match=r"\(5, 7, 5\).*config.model.align=True"):
        template(system(longer, encoder=config), longer.example(2), train=False)
    model = system(longer, encoder=config, align=True)
    run = jax.jit(functools.partial(model.init_with_output, train=False))
    out, _ = run(random_bits.key(0), longer.example(2))
    assert np.isfinite(out["pred"]).all()
