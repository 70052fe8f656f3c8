"""MMLatch: masks that let all or nothing through, what padding and missing steps say, and its options."""

import functools

import jax
import numpy as np
import pytest

from msajax import models, weights
from msajax.data.spec import MODALITIES, Spec
from msajax.models.mmlatch import MMLatch
from msajax.train import step

SPEC = Spec((5, 3, 4), (6, 6, 6), num_train=4)
BATCH = SPEC.example(4, seed=1)
# Two modalities are shorter than the third, each in another row.
for i, m in enumerate(MODALITIES):
    BATCH[f"{m}_mask"] = np.arange(6)[None] < np.roll([6, 4, 3, 2], i)[:, None]


@functools.cache
def ready(**fields):
    """A system's variables, drawn by hand, and its jitted outputs."""
    model = MMLatch(SPEC, dim=4, bidirectional=False, **fields)
    blank, rng = step.blank(model), np.random.default_rng(0)
    params = {k: rng.normal(0, 0.5, x.shape) for k, x in sorted(blank.params.items())}
    params = {k: x.astype(np.float32) for k, x in params.items()}
    variables = step.variables(blank._replace(params=params))
    return variables, jax.jit(functools.partial(model.apply, train=False))


def with_bias(variables, value):
    """Static masks that are alike everywhere."""
    params = {
        k: {"kernel": 0 * v["kernel"], "bias": 0 * v["bias"] + value}
        if k.startswith("mask_")
        else v
        for k, v in variables["params"].items()
    }
    return {"params": params}


def test_masks_of_one_are_no_feedback_and_of_zero_no_input():
    variables, run = ready(feedback="static")
    plain = {k: v for k, v in variables["params"].items() if not k.startswith("mask_")}
    wanted = ready(feedback="off")[1]({"params": plain}, BATCH)
    found = run(with_bias(variables, 50.0), BATCH)
    np.testing.assert_allclose(found["pred"], wanted["pred"], atol=1e-6)
    np.testing.assert_allclose(found["first_text"], wanted["text"], atol=1e-6)
    assert np.abs(run(variables, BATCH)["pred"] - wanted["pred"]).max() > 1e-3
    closed = run(with_bias(variables, -50.0), BATCH)
    others = {m: np.zeros_like(BATCH[m]) for m in MODALITIES}
    nothing = run(with_bias(variables, -50.0), {**BATCH, **others})
    np.testing.assert_allclose(closed["pred"], nothing["pred"], atol=1e-6)


def test_a_mask_is_made_by_the_other_two():
    variables, run = ready(feedback="static")
    variables, out = jax.device_get((variables, run(variables, BATCH)))
    for m in MODALITIES:
        mask = 0
        for other in (o for o in MODALITIES if o != m):
            layer = variables["params"][f"mask_{m}_by_{other}"]
            h = out[f"first_{other}"] @ layer["kernel"] + layer["bias"]
            mask += 0.5 / (1 + np.exp(-h))
        real = BATCH[f"{m}_mask"]
        found, wanted = (x[real] for x in (out[f"masked_{m}"], BATCH[m] * mask))
        np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_padding_says_nothing_unless_asked():
    longer = {
        k: np.pad(v, ((0, 0), (0, 3)) + ((0, 0),) * (v.ndim - 2)) if v.ndim > 1 else v
        for k, v in BATCH.items()
    }
    for padded in (False, True):
        variables, run = ready(feedback="off", padded=padded)
        gap = np.abs(run(variables, longer)["pred"] - run(variables, BATCH)["pred"])
        assert (gap.max() > 1e-3) == padded
        assert padded or gap.max() < 1e-6


@pytest.mark.parametrize(
    "fields,path,shape",
    [
        (dict(), "mask_vision_by_text/forward/kernel", (8, 16)),
        (dict(feedback="static"), "mask_vision_by_text/kernel", (8, 4)),
        (dict(bidirectional=False), "text/recurrent/forward/kernel", (5, 32)),
        (dict(cell="gru"), "text/recurrent/backward/recurrent_bias", (24,)),
    ],
)
def test_options_and_the_authors_names(fields, path, shape):
    model = models.get("mmlatch")(spec=SPEC, dim=8, **fields)
    params = step.shapes(model).params
    assert params[path].shape == shape
    rules = weights.table_of(model).rules
    assert {rule.leaf for rule in rules} == {f"params/{k}" for k in params}


def test_choices_and_lengths():
    with pytest.raises(ValueError, match='feedback is "of"; did you mean "off"'):
        step.shapes(MMLatch(SPEC, feedback="of"))
    unaligned = Spec((5, 3, 4), (6, 9, 6), num_train=4)
    with pytest.raises(ValueError, match="set config.model.align=True"):
        step.shapes(MMLatch(unaligned))
