"""ALR: its stages by hand, its samples, its losses, and the rows of its ablations."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import alr
from msajax import losses
from msajax.data.spec import MODALITIES, Spec
from msajax.models.alr.bottleneck import Bottleneck
from msajax.models.alr.cda import CrossDiffusion
from msajax.models.alr.system import ALR, PRIOR, fuse
from msajax.nn.token_transformer import PreNormEncoder, TokenTransformer
from msajax.weights import template
from tests import random_bits

SPEC = Spec(dims=(5, 3, 4), lengths=(5, 7, 6), num_train=12)
CLASSES = dataclasses.replace(SPEC, label_range=None, classes=("a", "b", "c"))
TINY = dict(dim=8, tokens=3, heads=2, hidden=6, layers=2, dropout=0.0)
PROGRESS = {"epoch": 0, "step": 0, "fraction": 0.0, "lr_scale": 1.0}
BATCH = SPEC.example(4, seed=1)


@functools.cache
def made(spec=SPEC, **fields):
    """(model, random parameters of which none is a constant)."""
    model, rng = ALR(spec, **{**TINY, **fields}), np.random.default_rng(0)
    shapes = template(model, spec.example(2), train=False)
    return model, jax.tree.map(
        lambda leaf: rng.normal(0, 0.4, leaf.shape).astype(np.float32), shapes
    )


@functools.cache
def forward(spec=SPEC, **fields):
    """Outputs in evaluation."""
    model, variables = made(spec, **fields)
    return jax.jit(functools.partial(model.apply, train=False))(variables, BATCH)


@functools.cache
def training(spec=SPEC, method="__call__", **fields):
    """Jitted (batch, key) -> outputs in training."""
    model, variables = made(spec, **fields)
    options = dict(progress=PROGRESS) if method == "loss" else {}

    def run(batch, key):
        options.update(train=True, method=method, rngs={"params": key})
        return model.apply(variables, batch, **options)

    return jax.jit(run)


def without(spec, *modalities):
    """A spec that lacks modalities."""
    sizes = {}
    for name in ("dims", "lengths"):
        pairs = zip(MODALITIES, getattr(spec, name), strict=True)
        sizes[name] = tuple(1 if m in modalities else size for m, size in pairs)
    return dataclasses.replace(spec, **sizes)


def numpy_params(variables):
    return jax.tree.map(np.asarray, variables["params"])


def linear(x, p):
    return x @ p["kernel"] + p["bias"]


# The stages -----------------------------------------------------------------------


def test_tokens_and_their_gaussians_by_hand():
    _, variables = made()
    params, out = numpy_params(variables), forward()

    @jax.jit
    def embed(params):
        x = {}
        for m, length in zip(MODALITIES, SPEC.lengths, strict=True):
            block = TokenTransformer(3, length, layers=1, heads=2, mlp_dim=8)
            h = jnp.einsum("bld,df->blf", BATCH[m], params[f"project_{m}"]["kernel"])
            h += params[f"project_{m}"]["bias"][None, None]
            x[m] = block.apply({"params": params[f"embed_{m}"]}, h, BATCH[f"{m}_mask"])
        return x

    for m, x in embed(params).items():
        ur = params[f"ur_{m}"]
        h = np.maximum(linear(np.asarray(x), ur["encoder"]), 0)
        mean, log_std = out["gaussians"][m]
        np.testing.assert_allclose(mean, linear(h, ur["mean"]), atol=2e-5)
        std = np.log1p(np.exp(linear(h, ur["std"]) + PRIOR))
        np.testing.assert_allclose(np.exp(log_std), std, rtol=1e-4)
        own = linear(np.asarray(mean).mean(1), params[f"head_{m}"])
        np.testing.assert_allclose(out["unimodal"][m], own[:, 0], atol=2e-5)


def gelu(x):
    return np.asarray(jax.nn.gelu(x, approximate=False))


@pytest.mark.parametrize("scales", [False, True])
def test_layers_of_interaction_by_hand(scales):
    _, variables = made(scales=scales, pairing="sent", share=0.3)
    params = numpy_params(variables)
    out = forward(scales=scales, pairing="sent", share=0.3)
    text = np.asarray(out["text"])
    np.testing.assert_array_equal(text, out["gaussians"]["text"][0])  # x_l, the mean
    texts = [text, text]
    if scales:
        encoder = {"params": params["scales"]}
        mask = np.ones((4, 3), bool)
        texts = PreNormEncoder(1, 2, 8).apply(encoder, text, mask=mask)
        assert len(texts) == 2 and np.abs(texts[1] - text).max() > 0.1
    cda = CrossDiffusion(2, 0.3, "sent")
    for m in ("audio", "vision"):
        d = np.asarray(out["gaussians"][m][0])
        for i, r in enumerate(texts):
            layer = jax.tree.map(lambda leaf, i=i: leaf[i], params[f"ali_{m}"])
            mixed = cda.apply({"params": layer["cda"]}, r, d)
            h = linear(np.concatenate(mixed, -1), layer["g"])
            h += linear(np.concatenate([r, d], -1), layer["h"])
            centred = h - h.mean(-1, keepdims=True)
            norm = centred / np.sqrt(h.var(-1, keepdims=True) + 1e-5)
            norm = norm * layer["norm"]["scale"] + layer["norm"]["bias"]
            d = gelu(linear(norm, layer["ffn"])) + h
        np.testing.assert_allclose(out[m], d, rtol=1e-4, atol=1e-4)


def softmax(x):
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def test_four_ways_of_fusion_by_hand():
    v, a, t = np.random.default_rng(0).normal(size=(3, 4, 3, 8)).astype(np.float32)
    parts = [v, a, t]
    for x, y in itertools.combinations((v, a, t), 2):
        scores = x @ np.swapaxes(y, 1, 2)
        parts += [softmax(scores) @ y * x, softmax(np.swapaxes(scores, 1, 2)) @ x * y]
    wanted = {
        "mmmu_ba": np.concatenate(parts, -1),
        "concatenation": np.concatenate([v, a, t], -1),
        "addition": v + a + t,
        "multiplication": v * a * t,
    }
    for how, value in wanted.items():
        np.testing.assert_allclose(fuse([v, a, t], how), value, atol=1e-5)
    np.testing.assert_array_equal(fuse([t], "mmmu_ba"), t)


def test_the_head_reads_the_mean_of_the_fused_tokens():
    for fields in ({}, dict(fusion="addition", layers=0)):
        out, params = forward(**fields), numpy_params(made(**fields)[1])
        streams = [out[m] for m in ("vision", "audio", "text")]
        u = np.asarray(fuse(streams, fields.get("fusion", "mmmu_ba"))).mean(1)
        np.testing.assert_allclose(out["fusion"], u, rtol=1e-5, atol=1e-5)
        pred = linear(u, params["head"])[:, 0]
        np.testing.assert_allclose(out["pred"], pred, rtol=1e-4, atol=1e-4)
    # Without ALI audio and vision are what the bottleneck left of them.
    np.testing.assert_array_equal(out["audio"], out["gaussians"]["audio"][0])


# Samples and losses ---------------------------------------------------------------


def test_samples_in_training_and_means_in_evaluation():
    run = training()
    first, again, other = (run(BATCH, random_bits.key(i)) for i in (1, 1, 2))
    np.testing.assert_array_equal(first["pred"], again["pred"])
    assert np.abs(first["pred"] - other["pred"]).min() > 1e-4
    mean, log_std = first["gaussians"]["text"]
    np.testing.assert_allclose(mean, forward()["text"], atol=1e-5)
    found = [(x["text"] - mean) / np.exp(log_std) for x in (first, other)]
    noise = np.concatenate(found).ravel()  # 192 numbers
    assert abs(noise.mean()) < 0.25 and 0.85 < noise.std() < 1.15
    assert np.abs(noise).max() < 5 and np.abs(found[0] - found[1]).min() > 0
    # Without UR there is nothing to draw.
    run = training(bottleneck=False)
    first, other = (run(BATCH, random_bits.key(i)) for i in (1, 2))
    np.testing.assert_array_equal(first["pred"], other["pred"])
    assert first["gaussians"] == {}


@pytest.mark.parametrize("spec", [SPEC, CLASSES], ids=["regression", "classes"])
def test_losses_by_hand(spec):
    batch = dict(spec.example(5, seed=2))
    batch["valid"] = np.arange(5) < 4
    batch["vision_mask"] = batch["vision_mask"] & (np.arange(5) != 1)[:, None]
    fields, key = dict(beta=0.5, bottleneck_weight=2.0), random_bits.key(3)
    total, terms = training(spec, "loss", **fields)(batch, key)
    out = training(spec, **fields)(batch, key)

    def task(pred, rows):
        pred, label = np.asarray(pred)[rows], batch["label"][rows]
        if not spec.classes:
            return np.abs(pred - label).mean()
        return losses.cross_entropy(jnp.asarray(pred), jnp.asarray(label)).mean()

    rows = dict(text=[0, 1, 2, 3], audio=[0, 1, 2, 3], vision=[0, 2, 3])
    wanted = task(out["pred"], rows["text"])
    np.testing.assert_allclose(terms["task"], wanted, rtol=1e-5)
    for m, chosen in rows.items():
        mean, std = (np.asarray(x)[chosen] for x in out["gaussians"][m])
        std = np.exp(std)
        kl = (0.5 * (mean**2 + std**2 - 1) - np.log(std)).mean()
        own = task(out["unimodal"][m], chosen)
        np.testing.assert_allclose(terms[f"kl_{m}"], kl, rtol=1e-5)
        np.testing.assert_allclose(terms[f"task_{m}"], own, rtol=1e-5)
        wanted += 2 * (own + 0.5 * kl)
    np.testing.assert_allclose(total, wanted, rtol=1e-5)


def test_the_divergence_leaves_the_loss_to_the_task_from_the_start():
    """The untrained bottlenecks' part of the loss, beside an error of about 1."""
    x = np.random.default_rng(0).normal(size=(4, 3, 8)).astype(np.float32)

    def divergence(fields):
        model = ALR(SPEC, **fields)
        block = Bottleneck(model.hidden, model.start)
        gaussian, _ = jax.jit(block.init_with_output)(jax.random.key(0), x)
        return model.beta, np.mean(losses.gaussian_kl(*gaussian))

    beta, kl = divergence({})
    assert (
        beta == alr.BASE["model"]["beta"] == 1 and kl < 0.1
    )  # the prior, but for small means and changes
    # A deviation of s diverges by (s * s - 1) / 2 - log(s): 4.5 at MIB's softplus(-5).
    beta, kl = divergence(alr.ROWS["mib"])
    std = np.log1p(np.exp(-5))
    np.testing.assert_allclose(kl, (std**2 - 1) / 2 - np.log(std), atol=0.1)
    assert beta * kl < 0.01


def test_validation_counts_the_task_alone():
    model, variables = made()
    loss = functools.partial(model.apply, train=False, progress=PROGRESS, method="loss")
    value, terms = jax.jit(loss)(variables, BATCH)
    np.testing.assert_array_equal(terms["pred"], forward()["pred"])
    wanted = np.abs(forward()["pred"] - BATCH["label"]).mean()
    np.testing.assert_allclose(value, wanted, rtol=1e-6)


# The rows of Tables V to IX ---------------------------------------------------------

ALL = ("text", "audio", "vision")


def modules(present, *, ur=True, ali=True, scales=True):
    """Names of the parameters' first level."""
    parts = ["project", "embed", *(["ur", "head"] if ur else [])]
    names = {f"{part}_{m}" for part in parts for m in present}
    streams = [f"ali_{m}" for m in present[1:] if ali]
    return {*names, *streams, *(["scales"] if streams and scales else []), "head"}


ROWS = {  # modules, width of U over dim, layers of ALI
    "": (modules(ALL), 9, 6),
    "no_audio": (modules(("text", "vision")), 4, 6),
    "no_vision": (modules(("text", "audio")), 4, 6),
    "no_audio_vision": (modules(("text",)), 1, None),
    "no_ur": (modules(ALL, ur=False), 9, 6),
    "no_ali": (modules(ALL, ali=False), 9, None),
    "concatenation": (modules(ALL), 3, 6),
    "addition": (modules(ALL), 1, 6),
    "multiplication": (modules(ALL), 1, 6),
    "layers_3": (modules(ALL), 9, 3),
    "layers_9": (modules(ALL), 9, 9),
    "dim_128": (modules(ALL), 9, 6),
    "dim_512": (modules(ALL), 9, 6),
    "one_scale": (modules(ALL, scales=False), 9, 6),
    "mib": (modules(ALL), 9, 6),
}


@pytest.mark.parametrize("row", ["", *alr.ROWS])
def test_rows_of_the_tables(row):
    config = alr.get_config(f"mosei{row and '/'}{row}")
    present = config.data.modalities
    spec = without(SPEC, *(set(MODALITIES) - set(present)))
    model = ALR(spec, **config.model)
    shapes = template(model, spec.example(2), train=False)["params"]
    names, width, layers = ROWS[row]
    assert set(shapes) == names
    dim = int(row.removeprefix("dim_")) if row.startswith("dim") else 256
    assert shapes["head"]["kernel"].shape == (width * dim, 1)
    for m in present[1:] if layers else ():
        assert shapes[f"ali_{m}"]["ffn"]["kernel"].shape == (layers, dim, dim)
    if "scales" in names:  # of every layer but the first
        assert {f"fc1_{i}" for i in range(layers - 1)} < set(shapes["scales"])
        assert f"fc1_{layers - 1}" not in shapes["scales"]


# Of those that differ in what they compute; the whole system is in test_registry.py.
LEARN = ("no_audio", "no_ur", "no_ali", "addition", "multiplication")


@pytest.mark.parametrize(
    "row",
    ["no_audio_vision", *(pytest.param(r, marks=pytest.mark.slow) for r in LEARN)],
)
def test_rows_learn_with_all_that_they_have(row):
    changes = dict(alr.ROWS[row])
    present = changes.pop("modalities", MODALITIES)
    spec = without(SPEC, *(set(MODALITIES) - set(present)))
    model, variables = made(spec, **changes)
    batch = {**spec.example(11, seed=1), "valid": np.ones(11, bool)}

    def loss(variables):
        rngs = {"params": random_bits.key(1)}
        options = dict(train=True, progress=PROGRESS, method="loss", rngs=rngs)
        return model.apply(variables, batch, **options)[0]

    value, gradients = jax.jit(jax.value_and_grad(loss))(variables)
    assert np.isfinite(value)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
        assert np.isfinite(leaf).all() and np.abs(leaf).max() > 0, path


# What people do wrong ---------------------------------------------------------------


def test_unknown_rows_get_the_nearest():
    with pytest.raises(
        ValueError, match='unknown row "no_audo"; did you mean "no_audio"'
    ):
        alr.get_config("mosei/no_audo")


@pytest.mark.parametrize(
    "fields,message",
    [
        (dict(fusion="mmmuba"), 'fusion is "mmmuba"; did you mean "mmmu_ba"'),
        (dict(pairing="both"), "Known: received, sent"),
        (dict(heads=3), "3 heads do not divide a width of 8"),
    ],
)
def test_unknown_choices(fields, message):
    with pytest.raises(ValueError, match=message):
        made(**fields)


def test_it_needs_text():
    with pytest.raises(ValueError, match='add "text" to config.data.modalities'):
        made(without(SPEC, "text"))
