"""MAG-BERT and MAG-XLNet: where audio and vision come in, and on which steps."""

import jax
import numpy as np
import pytest

from msajax.data.spec import Spec
from msajax.models.mag_bert import MAGBert
from msajax.models.mag_xlnet import MAGXLNet
from tests.toys import BERT, XLNET

SPEC = Spec((1, 3, 4), (5, 5, 5), 4, fields=(*Spec.fields, "text_ids", "text_type"))
SYSTEMS = [(MAGBert, BERT, 0), (MAGXLNet, XLNET, 1)]


@pytest.mark.parametrize("system,config,place", SYSTEMS)
@pytest.mark.parametrize("modality", ["audio", "vision"])
def test_a_step_shifts_its_own_piece_behind_the_gate(system, config, place, modality):
    model = system(SPEC, encoder=config)
    batch = SPEC.example(2)
    for name in ("text_mask", "audio_mask", "vision_mask"):
        batch[name] = np.ones((2, 5), bool)
    before, variables = model.init_with_output(jax.random.key(0), batch, train=False)
    changed = batch[modality].copy()
    changed[:, 2] += 1
    after = model.apply(variables, {**batch, modality: changed}, train=False)
    for i, (old, new) in enumerate(zip(before["hidden"], after["hidden"], strict=True)):
        moved = np.abs(np.asarray(new - old)).max(axis=-1) > 1e-6
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
        system(longer, encoder=config).init(
            jax.random.key(0), longer.example(2), train=False
        )
    model = system(longer, encoder=config, align=True)
    out, _ = model.init_with_output(jax.random.key(0), longer.example(2), train=False)
    assert np.isfinite(out["pred"]).all()
