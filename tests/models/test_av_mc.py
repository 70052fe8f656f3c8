"""AV-MC: its losses by hand, mixes that are given and drawn, and labels that are not there."""

import functools

import jax
import numpy as np
import pytest

from msajax.data.spec import Spec
from msajax.models.av_mc import AVMC
from msajax.nn import mixup
from msajax.nn.mixup import Mixup
from msajax.weights import template
from tests import random_bits

OWN = ("label_text", "label_audio", "label_vision")
SPEC = Spec((5, 3, 4), (4, 7, 6), 6, (-1.0, 1.0), fields=(*Spec.fields, *OWN))
TINY = dict(
    hidden_dims=(4, 5, 6),
    post_dims=(6, 4, 5),
    fusion_dim=3,
    audio_dropout=0.0,
    vision_dropout=0.0,
    post_dropouts=(0.0, 0.0, 0.0),
    fusion_dropout=0.0,
)
BATCH = SPEC.example(6, seed=1)
MIXES = {
    "audio": Mixup(np.float32(0.3), np.array([1, 2, 0, 5, 4, 3])),
    "vision": Mixup(np.float32(0.8), np.array([5, 4, 3, 2, 1, 0])),
}


@functools.cache
def ready(spec=SPEC, **fields):
    """A system and random variables."""
    rng = np.random.default_rng(0)
    model = AVMC(spec, **{**TINY, **fields})
    variables = jax.tree.map(
        lambda leaf: (
            rng.uniform(0.2, 1, leaf.shape).astype(np.float32)
            * rng.choice([1, -1] if leaf.ndim > 1 else [1], leaf.shape)
        ),
        template(model, spec.example(2), train=False),
    )
    return model, jax.tree.map(np.float32, variables)


@functools.cache
def jitted(model, method, **options):
    options |= dict(mutable=["batch_stats"]) if options.get("train") else {}

    def apply(variables, *args, **arrays):
        found = model.apply(variables, *args, method=method, **options, **arrays)
        return found[0] if options.get("train") else found

    return jax.jit(apply)


def given_loss(batch, mixes, train=False, **fields):
    model, variables = ready(**fields)
    return jitted(model, "loss_of_mixes", train=train)(variables, batch, mixes)


def drawn_loss(seed, **fields):
    model, variables = ready(**fields)
    run = jitted(model, "loss", train=True, progress=None)
    return run(variables, BATCH, rngs={"params": random_bits.key(seed)})


def test_the_loss_by_hand():
    model, variables = ready()
    total, terms = given_loss(BATCH, MIXES)
    x = model.apply(variables, BATCH, method="vectors")
    np.testing.assert_allclose(x["text"], BATCH["text"][:, 0], atol=1e-6)
    run = jitted(model, "forward", train=False)
    labels = {m: BATCH[f"label_{m}"] for m in ("text", "audio", "vision")}
    names = {"pred": BATCH["label"], **{f"pred_{m}": y for m, y in labels.items()}}
    weights = dict(zip(names, (1.0, 0.2, 0.8, 0.4), strict=True))
    wanted = 0
    for mixed in ("", "audio", "vision"):
        inputs, share, partner = dict(x), 1.0, np.arange(6)
        if mixed:
            share, partner = MIXES[mixed]
            inputs[mixed] = share * x[mixed] + (1 - share) * x[mixed][partner]
        out = run(variables, inputs, valid=BATCH["valid"])
        for name, label in names.items():
            own, other = (np.abs(out[name] - y).mean() for y in (label, label[partner]))
            both = name in ("pred", f"pred_{mixed}")
            wanted += weights[name] * (
                share * own + (1 - share) * other if both else own
            )
    np.testing.assert_allclose(total, wanted, rtol=1e-5)
    parts = (terms[k] for k in ("audio_mix", "vision_mix"))
    clean = terms["all"] + 0.2 * terms["text"] + 0.8 * terms["audio"]
    clean += 0.4 * terms["vision"]
    np.testing.assert_allclose(total, clean + sum(parts), rtol=1e-5)


@pytest.mark.parametrize("train", [False, True])
def test_a_whole_share_is_the_clean_loss(train):
    whole = {m: mix._replace(share=np.float32(1)) for m, mix in MIXES.items()}
    total, terms = given_loss(BATCH, whole, train=train)
    np.testing.assert_allclose(terms["audio_mix"], terms["vision_mix"], rtol=1e-6)
    np.testing.assert_allclose(total, 3 * terms["audio_mix"], rtol=1e-6)


def test_the_regression_is_within_its_range():
    model, variables = ready(output_range=(-3.0, 2.0))
    last = {"kernel": np.zeros((3, 1), np.float32), "bias": np.log([3.0])}
    far = {**variables["params"]["post_audio_3"], "bias": np.float32([9])}
    params = {**variables["params"], "post_fusion_3": last, "post_audio_3": far}
    run = jitted(model, "__call__", train=False)
    out = run({**variables, "params": params}, BATCH)
    np.testing.assert_allclose(out["pred"], -3 + 5 * 0.75, rtol=1e-5)
    assert np.abs(out["pred_audio"]).max() > 3  # without bounds


def test_draws_differ_and_repeat():
    losses = [float(drawn_loss(seed)[0]) for seed in (0, 1, 2, 0)]
    assert losses[0] == losses[3] and len(set(losses)) == 3
    plain, terms = drawn_loss(0, mixup=False)
    assert "audio_mix" not in terms and float(plain) not in losses
    model, variables = ready()
    # Validation mixes nothing, and needs no random numbers.
    valid, terms = jitted(model, "loss", train=False, progress=None)(variables, BATCH)
    clean, _ = given_loss(BATCH, {})
    assert valid == clean and "audio_mix" not in terms


def test_audio_and_vision_have_draws_of_their_own(monkeypatch):
    keys = []

    def draw(key, rows, *, alpha):
        keys.append(jax.random.key_data(key))
        return MIXES["audio"]

    monkeypatch.setattr(mixup, "draw", draw)
    model, variables = ready()
    options = dict(train=True, progress=None, method="loss", mutable=True)

    @jax.jit
    def drawn():
        model.apply(variables, BATCH, rngs=random_bits.key(0), **options)
        return keys

    first, second = drawn()
    assert (np.asarray(first) != second).any()


def test_rows_without_labels_weigh_nothing():
    known = np.arange(6) < 4
    batch = {**BATCH, "labelled": known}
    other = {k: np.where(known, v, 2) for k, v in batch.items() if "label_" in k}
    loss, _ = given_loss(batch, {})
    assert loss == given_loss({**batch, **other}, {})[0] != given_loss(BATCH, {})[0]
    # Nor as partners: the label of all is another one here, too.
    other["label"] = np.where(known, batch["label"], 2)
    loss, _ = given_loss(batch, MIXES, train=True)
    assert loss == given_loss({**batch, **other}, MIXES, train=True)[0]
    assert loss != given_loss(BATCH, MIXES, train=True)[0]


def test_filler_rows_weigh_nothing():
    alone = {**BATCH, "valid": np.arange(6) < 3}
    few = {k: v[:3] for k, v in BATCH.items()}
    mixes = {"audio": MIXES["audio"]}  # the first three rows among themselves
    short = {"audio": mixes["audio"]._replace(partner=np.array([1, 2, 0]))}
    for train in (False, True):
        found, wanted = (
            given_loss(b, m, train=train) for b, m in ((alone, mixes), (few, short))
        )
        np.testing.assert_allclose(found[0], wanted[0], rtol=1e-5)
        assert abs(found[0] - given_loss(BATCH, mixes, train=train)[0]) > 1e-3


def test_rows_without_audio_have_no_part_in_its_loss():
    mask = BATCH["audio_mask"] & (np.arange(6) > 1)[:, None]
    batch = {**BATCH, "audio_mask": mask}
    _, terms = given_loss(batch, {})
    other = {
        **batch,
        "label_audio": np.where(np.arange(6) > 1, batch["label_audio"], 9),
    }
    assert given_loss(other, {})[1]["audio"] == terms["audio"]
    assert given_loss(other, {})[1]["all"] == terms["all"]


def test_labels_that_the_data_lacks_fall_away():
    spec = Spec(SPEC.dims, SPEC.lengths, 6, fields=(*Spec.fields, "label_vision"))
    model, variables = ready(spec)
    assert {"post_text_2", "post_vision_3"} < set(variables["params"])
    assert not {"post_text_3", "post_audio_3"} & set(variables["params"])
    assert [note.split(":")[0] for note in model.notes] == [
        "the data has no label_text",
        "the data has no label_audio",
    ]
    assert ready()[0].notes == ()
    batch = spec.example(6, seed=1)
    total, terms = given_loss(batch, MIXES, spec=spec)
    assert set(terms) == {"pred", "all", "vision", "audio_mix", "vision_mix"}
    parts = terms["audio_mix"] + terms["vision_mix"]
    wanted = terms["all"] + 0.4 * terms["vision"] + parts
    np.testing.assert_allclose(total, wanted, rtol=1e-6)


def test_text_can_be_the_mean_of_its_steps():
    model, variables = ready(pooling="mean")
    x = model.apply(variables, BATCH, method="vectors")["text"]
    for row, mask, found in zip(BATCH["text"], BATCH["text_mask"], x, strict=True):
        np.testing.assert_allclose(found, row[mask].mean(0), atol=1e-6)
    with pytest.raises(ValueError, match=r'pooling is "max".* Known: cls, mean'):
        AVMC(SPEC, pooling="max").apply({}, BATCH, method="vectors")
