"""MISA: its losses by hand, what rows without a modality weigh, and how sequences are read."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from msajax import losses
from msajax.data.spec import Spec
from msajax.models.misa import MISA, ORDER
from msajax.train import step
from tests import random_bits

SPEC = Spec((5, 3, 4), (4, 7, 6), 6)
TINY = dict(dim=6, hidden=7, dropout=0.0, fusion_dropout=0.0)
BATCH = SPEC.example(6, seed=1)


@functools.cache
def ready(spec=SPEC, **fields):
    """A system, its variables and its jitted outputs."""
    model = MISA(spec, **{**TINY, **fields})
    variables = step.variables(step.init(model, random_bits.key(0)))
    return model, variables, jax.jit(lambda v, b: model.apply(v, b, train=False))


def outputs(batch, **fields):
    _, variables, run = ready(**fields)
    return run(variables, batch)


@functools.cache
def loss(train):
    weights = dict(similarity=0.7, difference=0.2, reconstruction=0.4)
    model, (_, variables, _) = MISA(SPEC, **TINY, **weights), ready()
    options = dict(method="loss", train=train, progress={})
    return jax.jit(functools.partial(model.apply, **options))(variables, BATCH)


def test_the_loss_is_the_weighted_sum():
    total, terms = loss(True)
    wanted = terms["task"] + 0.7 * terms["similarity"]
    wanted += 0.2 * terms["difference"] + 0.4 * terms["reconstruction"]
    np.testing.assert_allclose(total, wanted, rtol=1e-6)
    valid, alone = loss(False)
    np.testing.assert_allclose(valid, terms["task"], rtol=1e-6)
    np.testing.assert_allclose(
        valid, np.mean((alone["pred"] - BATCH["label"]) ** 2), rtol=1e-5
    )


def random_outputs():
    rng = np.random.default_rng(0)
    names = "private", "shared", "projected", "decoded"
    return {k: rng.uniform(size=(6, 3, 5)).astype(np.float32) for k in names}


def test_what_a_row_lacks_is_not_compared():
    mask = np.zeros((6, 1), bool)
    has = {"text": mask | True, "vision": mask.copy(), "audio": mask | True}
    has["vision"][:4] = True
    has["audio"][1] = False
    valid = np.array([1, 1, 1, 1, 1, 0], bool)
    batch = {f"{m}_mask": x for m, x in has.items()} | {"valid": valid}
    out = random_outputs()
    terms = MISA(SPEC).apply({}, out, batch, method="regularisers")
    private, shared, projected, decoded = (np.moveaxis(x, 1, 0) for x in out.values())
    where = np.stack([has[m][:, 0] & valid for m in ORDER])
    assert where.sum(axis=1).tolist() == [5, 4, 4]
    pairs = [(0, 1), (0, 2), (1, 2)]
    both = {(i, j): where[i] & where[j] for i, j in pairs}
    cmd = [losses.cmd(shared[i], shared[j], where=both[i, j]) for i, j in pairs]
    np.testing.assert_allclose(terms["similarity"], np.mean(cmd), rtol=1e-5)
    products = [
        *(
            losses.orthogonality(private[i], shared[i], where=where[i])
            for i in range(3)
        ),
        *(losses.orthogonality(*private[[i, j]], where=both[i, j]) for i, j in pairs),
    ]
    np.testing.assert_allclose(terms["difference"], np.sum(products), rtol=1e-5)
    error = [((decoded[i] - projected[i])[where[i]] ** 2).mean() for i in range(3)]
    np.testing.assert_allclose(terms["reconstruction"], np.mean(error), rtol=1e-5)


def test_sequences_are_read_over_their_own_lengths_or_the_texts():
    batch = {**BATCH, "text_mask": np.arange(4)[None] < np.full((6, 1), 2)}
    batch["audio_mask"] = np.arange(7)[None] < np.full((6, 1), 5)
    late = np.where(np.arange(7)[None, :, None] == 3, 9, batch["audio"])
    late = {**batch, "audio": late.astype(np.float32)}
    own = outputs(batch)["audio"], outputs(late)["audio"]
    assert np.abs(own[0] - own[1]).max() > 1e-2
    texts = (outputs(b, text_lengths=True)["audio"] for b in (batch, late))
    np.testing.assert_array_equal(*texts)
    # What a row lacks stays lacking.
    none = {**batch, "audio_mask": np.zeros((6, 7), bool)}
    assert not outputs(none, text_lengths=True)["audio"].any()


def test_final_states_of_both_directions():
    """Of a sequence read backwards they are those of the other direction, where weights are alike."""
    _, variables, run = ready()
    params = dict(variables["params"])
    layer = dict(params["read_audio"]["layer_0"])
    params["read_audio"] = {
        **params["read_audio"],
        "layer_0": layer | {"backward": layer["forward"]},
    }
    length = BATCH["audio_mask"].sum(axis=1)
    turned = np.zeros_like(BATCH["audio"])
    for row, (x, n) in enumerate(zip(BATCH["audio"], length, strict=True)):
        turned[row, :n] = x[:n][::-1]
    ahead, back = (
        run({"params": params}, {**BATCH, "audio": x})["audio"].reshape(6, 2, 2, 3)
        for x in (BATCH["audio"], turned)
    )
    # [B, direction, layer, D]
    np.testing.assert_allclose(ahead[:, 0, 0], back[:, 1, 0], atol=1e-6)
    assert np.abs(ahead[:, 0, 0] - ahead[:, 1, 0]).max() > 1e-3


def test_text_as_its_mean_or_read_like_the_others():
    found = outputs(BATCH)["text"]
    mask = BATCH["text_mask"][..., None]
    wanted = (BATCH["text"] * mask).sum(1) / mask.sum(1)
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    model = MISA(SPEC, **TINY, pooling="recurrent", cell="gru")
    shapes = step.shapes(model)
    assert shapes.params["project_text/kernel"].shape == (4 * 5, 6)
    assert shapes.params["read_text/layer_1/backward/kernel"].shape == (10, 15)


def test_a_modality_that_the_data_lacks_has_no_parameters():
    lacking = dataclasses.replace(SPEC, dims=(1, 3, 4), lengths=(1, 7, 6))
    model = MISA(lacking, **TINY)
    shapes = step.shapes(model)
    assert not [path for path in shapes.params if "text" in path]
    assert shapes.params["fc/kernel"].shape == (4 * 6, 18)
    alone = dataclasses.replace(lacking, dims=(1, 1, 4), lengths=(1, 1, 6))
    with pytest.raises(ValueError, match="data has vision; set config.data.modalities"):
        step.shapes(MISA(alone, **TINY))


def test_unknown_choices():
    with pytest.raises(ValueError, match='cell is "lsmt"; did you mean "lstm"'):
        step.shapes(MISA(SPEC, cell="lsmt"))
