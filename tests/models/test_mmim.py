"""MMIM: likelihoods and entropies by hand, what the memory holds, and the options' parameters."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from msajax import models, weights
from msajax.data.spec import Spec
from msajax.encoders.bert import BertConfig
from msajax.models.mmim import MMIM
from msajax.train import step

SPEC = Spec((5, 3, 4), (4, 7, 6), num_train=16)
TINY = dict(hidden_dims=(5, 6), out_dims=(8, 12), fusion_dim=7, fusion_dropout=0.0)
NAME = "text_vision"


def draw(seed, rows=16):
    """Samples for an entropy, and their batch; two rows are filler, one lacks vision, one is neutral."""
    rng = np.random.default_rng(seed)
    sample = rng.uniform(-1, 1, (rows, 3)).astype(np.float32)
    label = np.resize(np.float32([1, -2, 0, 3, -1, -0.5, 2, 0.5]), rows)
    batch = dict(label=label, valid=np.arange(rows) < rows - 2)
    batch["vision_mask"] = np.ones((rows, 2), bool)
    batch["vision_mask"][3] = False
    return sample, batch


def counted(sample, batch):
    where = batch["valid"] & batch["vision_mask"][:, 0]
    return [sample[where & (batch["label"] * sign > 0)] for sign in (1, -1)]


@functools.cache
def entropy():
    model = MMIM(SPEC, **TINY)
    memory = step.variables(step.blank(model))["memory"]
    run = jax.jit(
        lambda memory, sample, batch: model.apply(
            *({"memory": memory}, NAME, sample, batch),
            method="entropy",
            mutable=["memory"],
        )
    )
    return run, memory


def by_hand(*classes):
    return sum(np.linalg.slogdet(np.cov(x.T, bias=True))[1] / 4 for x in classes)


def test_entropies_are_of_the_batch_and_the_one_before():
    run, memory = entropy()
    batches = [draw(seed) for seed in (0, 1, 2)]
    classes, before = [counted(*b) for b in batches], [np.zeros((0, 3))] * 2
    for batch, both in zip(batches, classes, strict=True):
        found, updated = run(memory, *batch)
        memory = updated["memory"]
        wanted = by_hand(*(np.concatenate(x) for x in zip(before, both, strict=True)))
        np.testing.assert_allclose(found, wanted, rtol=1e-4)
        before = both
    count = memory[f"{NAME}_count"]
    assert count.tolist() == [len(x) for x in classes[-1]]


def test_a_class_of_few_samples_has_no_entropy():
    run, memory = entropy()
    sample, batch = draw(0)
    positive, negative = counted(sample, batch)
    few = batch["label"].copy()
    few[np.flatnonzero(few > 0)[3:]] = 0  # as many as dimensions, or fewer
    found, _ = run(memory, sample, {**batch, "label": few})
    np.testing.assert_allclose(found, by_hand(negative), rtol=1e-4)
    assert abs(float(found) - by_hand(positive, negative)) > 0.1


@functools.cache
def losses():
    """(variables, {method: (loss, terms)} in training, outputs)."""
    model, batch = MMIM(SPEC, **TINY, contrast=0.3, bound=0.2), SPEC.example(12, seed=1)
    variables = step.variables(step.init(model, jax.random.key(0)))

    def run(variables, batch):
        options = dict(train=True, progress={}, mutable=["memory"])
        found = {
            method: model.apply(variables, batch, method=method, **options)[0]
            for method in ("loss", "estimator_loss")
        }
        return found, model.apply(variables, batch, train=False)

    return variables, *jax.jit(run)(variables, batch)


def test_the_losses_are_the_weighted_sums():
    _, found, _ = losses()
    total, terms = found["loss"]
    wanted = terms["task"] + 0.3 * terms["contrast"]
    wanted -= 0.2 * (terms["likelihood"] + terms["entropy"])
    np.testing.assert_allclose(total, wanted, rtol=1e-6)
    np.testing.assert_allclose(found["estimator_loss"][0], -terms["likelihood"])


def test_likelihoods_by_hand():
    variables, found, out = jax.device_get(losses())
    total = 0
    for y in ("vision", "audio"):
        layers = variables["params"][f"mi_text_{y}"]

        def apply(name, x, layers=layers):
            return x @ layers[name]["kernel"] + layers[name]["bias"]

        mean, log_variance = (
            apply(f"{k}_2", np.maximum(apply(f"{k}_1", out["text"]), 0))
            for k in ("mean", "log_variance")
        )
        gap = (mean - out[y]) ** 2 / (2 * np.exp(log_variance))
        total -= gap.sum(axis=1).mean()
    np.testing.assert_allclose(found["loss"][1]["likelihood"], total, rtol=1e-5)


def test_classes_have_no_entropies():
    spec = dataclasses.replace(SPEC, label_range=None, classes=("a", "b"))
    shapes = step.shapes(MMIM(spec, **TINY))
    assert not shapes.collections
    assert not [path for path in shapes.params if "entropy" in path]
    assert MMIM(spec, **TINY).notes and not MMIM(SPEC, **TINY).notes


@pytest.mark.parametrize(
    "fields,more,fewer",
    [
        (dict(audio_vision=True), {"mi_vision_audio/mean_1/kernel": (12, 8)}, None),
        (dict(bidirectional=False), {"project_audio/kernel": (5, 8)}, "backward"),
        (dict(predictor_layers=3), {"predict_text/layer_3/kernel": (5, 5)}, None),
    ],
)
def test_options_and_their_names(fields, more, fewer):
    model = models.get("mmim")(spec=SPEC, **TINY, **fields)
    params = step.shapes(model).params
    assert {path: params[path].shape for path in more} == more
    assert not (fewer and [path for path in params if fewer in path])


def test_the_authors_names_fit_every_option():
    bert = BertConfig(9, 8, 1, 2, 6, 9)
    spec = dataclasses.replace(SPEC, fields=(*SPEC.fields, "text_ids", "text_type"))
    fields = dict(audio_vision=True, bidirectional=False, predictor_layers=3)
    model = MMIM(spec, encoder=bert, **TINY, **fields)
    shapes = step.shapes(model)
    rules = weights.table_of(model).rules
    leaves = {f"params/{k}" for k in shapes.params} | shapes.collections.keys()
    assert {rule.leaf for rule in rules} == leaves
    names = {name for rule in rules for name in rule.names}
    assert {f"cpc_za.net.{i}.bias" for i in (0, 2, 3)} < names
    assert "mi_va.entropy_prj.0.weight" in names
    assert not [name for name in names if "reverse" in name]
