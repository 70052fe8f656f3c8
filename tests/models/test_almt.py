"""ALMT: the whole network by hand, its target included, and its padding."""

import functools

import jax
import numpy as np

from msajax.data.spec import MODALITIES, Spec
from msajax.models.almt import ALMT
from msajax.weights import template
from tests.nn.test_ahl import layer_by_hand
from tests.nn.test_token_transformer import encode, linear

SPEC = Spec(dims=(5, 3, 4), lengths=(4, 7, 6), num_train=6)
TINY = dict(
    dim=6,
    tokens=3,
    head_dim=4,
    embedding_layers=2,
    embedding_heads=3,
    embedding_mlp_dim=5,
    text_heads=1,
    text_mlp_dim=7,
    ahl_heads=2,
    ahl_head_dim=4,
    fusion_heads=2,
    fusion_mlp_dim=5,
)
BATCH = SPEC.example(3, seed=1)


@functools.cache
def ready(**fields):
    """Random parameters, none of them a constant, and jitted outputs in evaluation."""
    rng = np.random.default_rng(0)
    model = ALMT(SPEC, **TINY, **fields)
    variables = jax.tree.map(
        lambda leaf: rng.normal(0, 0.5, leaf.shape).astype(np.float32),
        template(model, BATCH, train=False),
    )
    return variables, jax.jit(lambda v, b: model.apply(v, b, train=False))


def by_hand(p, batch, masks, target):
    """The authors' forward pass; `target` is what stands behind the fusion's token."""
    rows, h = len(batch["label"]), {}
    for m in MODALITIES:
        x, e = linear(p[f"project_{m}"], batch[m]), p[f"embed_{m}"]
        x = np.concatenate([np.broadcast_to(e["tokens"], (rows, 3, 6)), x], 1)
        mask = np.concatenate([np.ones((rows, 3), bool), masks[m]], 1)
        h[m] = encode(e["encoder"], x + e["positions"][: x.shape[1]], mask, 2)[-1]
        h[m] = h[m][:, :3]
    ahl, ones = p["ahl"], np.ones((rows, 3), bool)
    scales = encode(ahl["text_encoder"], h["text"] + ahl["positions"], ones, 2)
    hyper = np.broadcast_to(ahl["hyper"], h["text"].shape)
    for i, scale in enumerate(scales):
        hyper = layer_by_hand(ahl[f"layer_{i}"], hyper, scale, h["audio"], h["vision"])
    f = p["fusion"]
    token = np.broadcast_to(f["token"], (rows, 1, 6))
    source = np.concatenate([token, hyper], 1) + f["source_positions"]
    queries = np.concatenate([token + f["position"], target], 1)
    ones = np.ones((rows, 4), bool)
    fusion = encode(f["encoder"], queries, ones, 2, source)[-1][:, 0]
    return linear(p["head"], fusion)[:, 0]


def test_the_network_by_hand_whatever_the_fusions_target():
    variables, predict = ready()
    masks = {m: BATCH[f"{m}_mask"] for m in MODALITIES}
    found = predict(variables, BATCH)["pred"]
    for seed in (0, 1):
        target = np.random.default_rng(seed).normal(size=(3, 3, 6))
        wanted = by_hand(variables["params"], BATCH, masks, target)
        np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert np.ptp(found) > 1e-2


def test_padded_attends_to_padding():
    variables, predict = ready(padded=True)
    masks = {m: np.ones_like(BATCH[f"{m}_mask"]) for m in MODALITIES}
    found = predict(variables, BATCH)["pred"]
    wanted = by_hand(variables["params"], BATCH, masks, np.zeros((3, 3, 6)))
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    _, default = ready()
    assert np.abs(found - default(variables, BATCH)["pred"]).max() > 1e-3


def test_every_modality_matters():
    variables, predict = ready()
    out = predict(variables, BATCH)
    assert out["text"].shape == out["hyper"].shape == (3, 3, 6)
    assert out["fusion"].shape == (3, 6)
    for m in MODALITIES:
        lacking = {**BATCH, f"{m}_mask": BATCH[f"{m}_mask"] & False}
        change = predict(variables, lacking)["pred"] - out["pred"]
        assert np.abs(change).min() > 1e-4
