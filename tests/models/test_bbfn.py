"""BBFN: gates that keep all, the discriminators' loss by hand, padding, and the options."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from msajax import models, weights
from msajax.data.spec import MODALITIES, Spec
from msajax.encoders.bert import BertConfig
from msajax.models.bbfn import BBFN, OTHERS
from msajax.train import step

SPEC = Spec((5, 3, 4), (6, 6, 6), num_train=4)
TINY = dict(dim=4, heads=2, kernel_sizes=(3, 1, 3))
BATCH = SPEC.example(4, seed=1)
STEPS = np.arange(6)[None] < np.array([6, 4, 3, 2])[:, None]
BATCH |= {f"{m}_mask": STEPS for m in MODALITIES}
BATCH["vision_mask"] = STEPS & (np.arange(4) != 1)[:, None]  # a row lacks vision


@functools.cache
def ready():
    """Variables, drawn by hand, and the jitted outputs and loss of three layers."""
    model = BBFN(SPEC, **TINY, layers=3, discrimination=0.3)
    blank, rng = step.blank(model), np.random.default_rng(0)
    params = {k: rng.normal(0, 0.5, x.shape) for k, x in sorted(blank.params.items())}
    params = {k: x.astype(np.float32) for k, x in params.items()}

    @jax.jit
    def run(params, batch):
        variables = step.variables(blank._replace(params=params))
        loss = model.apply(variables, batch, train=False, progress={}, method="loss")
        return model.apply(variables, batch, train=False), loss

    return params, lambda *args: jax.device_get(run(*args))


def test_streams_that_gates_keep_stay_as_they_are():
    params, run = ready()
    values = {"keep_gate": 50, "fuse_gate": -50, "fc2": 0}  # all, nothing, nothing
    kept = {}
    for path, x in params.items():
        part, leaf = path.split("/")[-2:]
        found = [v for k, v in values.items() if part.endswith(k) and part != k]
        kept[path] = (0 * x + (leaf == "bias") * found[0] if found else x).astype("f")
    out, _ = run(kept, BATCH)
    for m in OTHERS:
        for i, k in enumerate(("text", m)):
            np.testing.assert_allclose(
                out[f"stream_{m}"][:, i], out[f"steps_{k}"], atol=1e-5
            )
    assert np.abs(run(params, BATCH)[0]["stream_audio"] - out["stream_audio"]).max() > 1


def test_the_discriminators_loss_by_hand():
    params, run = ready()
    out, (loss, terms) = run(params, BATCH)
    total = 0
    for m in OTHERS:
        assert out[f"score_{m}"].shape == (4, 3, 2)
        p = 1 / (1 + np.exp(-out[f"score_{m}"]))[BATCH[f"{m}_mask"].any(axis=1)]
        total -= (np.log(1 - p[..., 0]) + np.log(p[..., 1])).mean() / 4
    np.testing.assert_allclose(terms["discrimination"], total, rtol=1e-4)
    task = np.mean((out["pred"] - BATCH["label"]) ** 2)
    np.testing.assert_allclose(loss, task + 0.3 * total, rtol=1e-4)


def test_padding_says_nothing():
    params, run = ready()
    noise = dict(BATCH)
    for m in MODALITIES:
        real = BATCH[f"{m}_mask"][..., None]
        noise[m] = np.where(real, BATCH[m], 7).astype(np.float32)
    found, wanted = (run(params, b)[0]["pred"] for b in (noise, BATCH))
    np.testing.assert_allclose(found, wanted, atol=1e-5)


WORDS = dataclasses.replace(SPEC, vocabulary=9, fields=(*SPEC.fields, "text_ids"))
PIECES = dataclasses.replace(SPEC, fields=(*WORDS.fields, "text_type"))
BERT = dict(encoder=BertConfig(9, 8, 1, 2, 6, 9))


@pytest.mark.parametrize(
    "spec,fields,path,shape",
    [
        (PIECES, BERT, "text_vision/layers/control_other/forward/kernel", (4, 4, 12)),
        (PIECES, BERT | dict(layers=1), "text_audio/first/control_text/kernel", (4, 4)),
        (PIECES, BERT | dict(projection="gru"), "project_audio/steps/kernel", (6, 4)),
        (WORDS, dict(projection="lstm", word_dim=7), "words/embedding", (9, 7)),
    ],
)
def test_options_and_the_authors_names(spec, fields, path, shape):
    model = models.get("bbfn")(spec=spec, **TINY, **fields)
    params = step.shapes(model).params
    assert params[path].shape == shape
    rules = weights.table_of(model).rules
    assert {rule.leaf for rule in rules} == {f"params/{k}" for k in params}
