"""MSG/MBA: the stages of the paper, every row of its tables, and padding on either side."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from msajax.data.spec import MODALITIES, Spec
from msajax.models.msg_mba import MSGMBA
from msajax.nn.gates import MSG
from msajax.nn.mba import MBA
from tests.toys import BERT, XLNET

FIELDS = (*Spec.fields, "text_ids", "text_type")
SPEC = Spec((1, 3, 4), (5, 5, 5), 4, fields=FIELDS)
FEATURES = dataclasses.replace(SPEC, dims=(6, 3, 4), fields=Spec.fields)
PROGRESS = {"epoch": 0, "step": 0, "fraction": 0.0, "lr_scale": 1.0}
ONE_LAYER = dataclasses.replace(BERT, num_hidden_layers=1)
TINY = dict(encoder=ONE_LAYER, layer=1, dim=5, fusion_dim=7)


def aligned(spec, rows=4, seed=0, side="right"):
    """A batch whose modalities have the same real steps."""
    batch = spec.example(rows, seed=seed)
    lengths = np.random.default_rng(seed).integers(2, spec.lengths[0] + 1, rows)
    mask = np.arange(spec.lengths[0]) < lengths[:, None]
    mask = mask if side == "right" else mask[:, ::-1]
    draw = np.random.default_rng(seed + 1).normal
    for name in MODALITIES:
        if name in spec.modalities:
            batch[f"{name}_mask"] = mask
            if name in batch:
                x = draw(size=batch[name].shape).astype(np.float32)
                batch[name] = np.where(mask[..., None], x, 0)
    return batch


def without(spec, *absent):
    """A spec whose data lacks modalities."""
    sizes = zip(MODALITIES, spec.dims, spec.lengths, strict=True)
    sizes = [(1, 1) if m in absent else (dim, n) for m, dim, n in sizes]
    return dataclasses.replace(
        spec, dims=tuple(d for d, _ in sizes), lengths=tuple(n for _, n in sizes)
    )


def init(model, batch):
    return jax.jit(functools.partial(model.init, train=False))(jax.random.key(0), batch)


def run(model, variables, batch):
    return jax.jit(functools.partial(model.apply, train=False))(variables, batch)


def made(spec=SPEC, **fields):
    """(model, variables, batch, outputs)."""
    model, batch = MSGMBA(spec, **{**TINY, **fields}), aligned(spec)
    variables = init(model, batch)
    return model, variables, batch, run(model, variables, batch)


# Each row of the tables -----------------------------------------------------------

NO_HUBER = dict(shift_weights=(0.0, 0.0, 0.0))
ALL = ("text", "audio", "vision")
RNNS = ("audio_rnn", "vision_rnn")
MSGS = ("msg_text", "msg_audio", "msg_vision")
MBAS = ("mba_audio", "mba_vision")
ROWS = {  # Table III: fields, and the modules besides text, fusion and head
    "none": (dict(gates=(), mba=False, **NO_HUBER), RNNS),
    "T": (dict(gates=("text",), mba=False, **NO_HUBER), (*RNNS, MSGS[0])),
    "T&A": (dict(gates=ALL[:2], mba=False, **NO_HUBER), (*RNNS, *MSGS[:2])),
    "T&V": (
        dict(gates=("text", "vision"), mba=False, **NO_HUBER),
        (*RNNS, MSGS[0], MSGS[2]),
    ),
    "T&A&V": (dict(mba=False, **NO_HUBER), (*RNNS, *MSGS)),
    "+MBA": (NO_HUBER, (*RNNS, *MSGS, *MBAS)),
    "+Huber": ({}, (*RNNS, *MSGS, *MBAS)),
    # Tables V and VI
    **{
        f"{text} {rnn}": (
            dict(encoder=encoder, recurrent=rnn),
            (*RNNS, *MSGS, *MBAS),
        )
        for text, encoder in (
            ("BERT", ONE_LAYER),
            ("XLNet", dataclasses.replace(XLNET, n_layer=1)),
        )
        for rnn in ("sLSTM", "bLSTM", "sGRU", "bGRU")
    },
}
ROWS.pop("BERT sLSTM")  # is "+Huber"


def step(model, variables, batch, rate=0.02):
    """Loss, gradients, and the loss after one step against them, without dropout."""
    loss = functools.partial(model.apply, train=False, progress=PROGRESS, method="loss")

    @jax.jit
    def run(variables):
        value, gradients = jax.value_and_grad(lambda v: loss(v, batch)[0])(variables)
        moved = jax.tree.map(lambda p, g: p - rate * g, variables, gradients)
        return value, gradients["params"], loss(moved, batch)[0]

    return run(variables)


@pytest.mark.parametrize("row", ROWS)
def test_rows_of_tables_3_5_and_6(row):
    fields, modules = ROWS[row]
    # A small bound: mu has a gradient only where it binds.
    model = MSGMBA(SPEC, **{**TINY, "mu": 0.05, **fields})
    batch = aligned(SPEC)
    variables = init(model, batch)
    assert set(variables["params"]) == {"encoder", "fusion", "head", *modules}
    before, gradients, after = step(model, variables, batch)
    assert after < before
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradients):
        assert np.isfinite(leaf).all() and np.abs(leaf).max() > 0, path
    width = 6 + 7 * (2 if model.recurrent[0] == "b" else 1)
    assert variables["params"]["fusion"]["kernel"].shape == (width, 7)


MODALITY_ROWS = {  # Table IV: what is there, and the modules besides fusion and head
    ("audio",): ("audio_rnn",),
    ("vision",): ("vision_rnn",),
    ("text",): ("encoder",),
    ("audio", "vision"): (*RNNS, "msg_audio", "msg_vision"),
    ("text", "audio"): ("encoder", RNNS[0], *MSGS[:2], MBAS[0]),
    ("text", "vision"): ("encoder", RNNS[1], MSGS[0], MSGS[2], MBAS[1]),
}


@pytest.mark.parametrize("present", MODALITY_ROWS, ids="&".join)
@pytest.mark.parametrize("routing", ["matched", "crossed"])
def test_rows_of_table_4(present, routing):
    spec = without(SPEC, *(m for m in MODALITIES if m not in present))
    encoder = ONE_LAYER if "text" in present else None
    model = MSGMBA(spec, **{**TINY, "encoder": encoder, "routing": routing})
    batch = aligned(spec)
    variables = init(model, batch)
    modules = {"fusion", "head", *MODALITY_ROWS[present]}
    assert set(variables["params"]) == modules
    before, gradients, after = step(model, variables, batch)
    assert np.isfinite(before) and after < before
    for name in modules:
        assert any(np.abs(g).max() > 0 for g in jax.tree.leaves(gradients[name])), name


@pytest.mark.parametrize("encoder", [BERT, XLNET], ids=["BERT", "XLNet"])
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_the_layer_of_msg_t(encoder, layer):  # Fig. 5
    _, variables, batch, out = made(encoder=encoder, layer=layer, post_norm=False)
    settings = dict(mask=batch["text_mask"], segments=batch["text_type"], train=False)
    network, params = encoder.encoder(pooler=False), variables["params"]
    apply = jax.jit(functools.partial(network.apply, **settings))
    plain = apply({"params": params["encoder"]}, batch["text_ids"])
    shifted, h_s = MSG().apply(
        {"params": params["msg_text"]},
        plain.hidden[layer],
        out["features"],
        train=False,
    )
    np.testing.assert_allclose(out["shifts"]["text"], h_s, atol=1e-5)
    if layer == 2:  # nothing follows
        np.testing.assert_allclose(out["text"], shifted, atol=1e-5)
    else:
        assert np.abs(out["text"] - shifted).max() > 0.01


def test_there_is_no_layer_13():
    with pytest.raises(ValueError, match="inject_after=3, but the encoder has 2"):
        made(encoder=BERT, layer=3)


# The stages ---------------------------------------------------------------------


@pytest.mark.parametrize("routing", ["matched", "crossed"])
def test_stages_by_hand(routing):
    _, variables, batch, out = made(
        FEATURES, encoder=None, routing=routing, post_norm=False, kernel_sizes=(1, 3, 5)
    )
    params, f = variables["params"], out["features"]

    def msg(name, x, others):
        variables = {"params": params[f"msg_{name}"]}
        return MSG().apply(variables, x, others, train=False)

    m, h_s = {}, {}
    m["text"], h_s["text"] = msg("text", batch["text"], f)
    for name, other in (("audio", "vision"), ("vision", "audio")):
        source = name if routing == "matched" else other
        mba = MBA(5, 5, (1, {"audio": 3, "vision": 5}[source]))
        text, p_att, x_att = mba.apply(
            {"params": params[f"mba_{source}"]},
            m["text"],
            f[source],
            batch["text_mask"],
        )
        np.testing.assert_allclose(out["weights"][source], p_att, atol=1e-5)
        np.testing.assert_allclose(out["attention"][source], x_att, atol=1e-5)
        m[name], h_s[name] = msg(name, f[name], {"text": text, other: f[other]})
    for name in MODALITIES:
        np.testing.assert_allclose(out["shifts"][name], h_s[name], atol=1e-5)
        np.testing.assert_allclose(out[name], m[name], atol=1e-5)

    joined = np.concatenate([m[name] for name in MODALITIES], axis=-1)
    h = joined[:, 0] @ params["fusion"]["kernel"] + params["fusion"]["bias"]
    np.testing.assert_allclose(out["fusion"], h, atol=1e-5)
    pred = h @ params["head"]["kernel"] + params["head"]["bias"]
    np.testing.assert_allclose(out["pred"], pred[:, 0], atol=1e-5)


def test_mean_pooling_is_over_real_steps():
    model, variables, batch, out = made(FEATURES, encoder=None, pooling="mean")
    params = variables["params"]["fusion"]
    joined = np.concatenate([out[name] for name in MODALITIES], axis=-1)
    for row, n in enumerate(batch["text_mask"].sum(1)):
        h = joined[row, :n].mean(0) @ params["kernel"] + params["bias"]
        np.testing.assert_allclose(out["fusion"][row], h, atol=1e-5)


def test_loss_by_hand():
    model, variables, batch, _ = made(
        FEATURES, encoder=None, shift_weights=(0.5, 2.0, 3.0), delta=0.1
    )
    batch["valid"] = np.array([True, True, True, False])
    batch["vision_mask"] = batch["vision_mask"] & (np.arange(4) != 1)[:, None]
    batch["vision"] = np.where(batch["vision_mask"][..., None], batch["vision"], 0)
    out = run(model, variables, batch)
    loss = functools.partial(model.apply, train=False, progress=PROGRESS, method="loss")
    total, terms = jax.jit(loss)(variables, batch)
    wanted = np.mean((out["pred"] - batch["label"])[:3] ** 2)
    np.testing.assert_allclose(terms["task"], wanted, rtol=1e-5)
    rows = {"text": [0, 1, 2], "audio": [0, 1, 2], "vision": [0, 2]}
    for name, weight in zip(MODALITIES, (0.5, 2.0, 3.0), strict=True):
        h_s = np.asarray(out["shifts"][name])[rows[name]]
        h_s = np.abs(h_s[batch["text_mask"][rows[name]]])
        assert (h_s > 0.1).any() and (h_s < 0.1).any()
        huber = np.where(h_s <= 0.1, h_s**2 / 2, 0.1 * (h_s - 0.05)).mean()
        np.testing.assert_allclose(terms[f"shift_{name}"], huber, rtol=1e-5)
        wanted += weight * huber
    np.testing.assert_allclose(total, wanted, rtol=1e-5)


@pytest.mark.parametrize("shift", MODALITIES)
def test_what_a_shifting_loss_reaches(shift):
    model, variables, batch, _ = made(layer=0)

    @jax.jit
    @jax.grad
    def gradient(params):
        terms = model.apply(
            {"params": params}, batch, train=False, progress=PROGRESS, method="loss"
        )[1]
        return terms[f"shift_{shift}"]

    found = gradient(variables["params"])
    moved = {k for k, v in found.items() if any(np.any(x) for x in jax.tree.leaves(v))}
    reached = {"encoder", "msg_text", *RNNS}
    if shift != "text":
        reached |= {f"msg_{shift}", f"mba_{shift}"}
    assert moved == reached


# Padding and what is missing ------------------------------------------------------


@pytest.mark.parametrize("recurrent", ["sLSTM", "bGRU"])
def test_xlnet_predicts_alike_with_padding_on_either_side(recurrent):
    fields = dict(encoder=XLNET, layer=1, scalar_weights=True, recurrent=recurrent)
    model, variables, right, out = made(**fields)
    left = {}
    shifts = 5 - right["text_mask"].sum(1)
    assert shifts.any()
    for key, x in right.items():
        rolled = [np.roll(row, n, axis=0) for row, n in zip(x, shifts, strict=True)]
        left[key] = np.stack(rolled) if np.ndim(x) > 1 else x
    other = run(model, variables, left)
    np.testing.assert_allclose(other["pred"], out["pred"], atol=1e-5)
    mask = right["text_mask"]
    for name in MODALITIES:
        np.testing.assert_allclose(
            other[name][left["text_mask"]], out[name][mask], atol=1e-5
        )


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("encoder", [BERT, XLNET], ids=["BERT", "XLNet"])
def test_what_stands_on_padding_changes_nothing(encoder, side):
    model, variables, _, _ = made(encoder=encoder)
    batch = aligned(SPEC, side=side)
    noisy = dict(batch)
    for name in ("audio", "vision"):
        noisy[name] = np.where(batch["text_mask"][..., None], batch[name], 7.0)
    for name in ("text_ids", "text_type"):
        noisy[name] = np.where(batch["text_mask"], batch[name], 1 - batch[name])
    found, wanted = (run(model, variables, x)["pred"] for x in (noisy, batch))
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize(
    "encoder,place", [(BERT, "first"), (XLNET, "last")], ids=["BERT", "XLNet"]
)
def test_cls_is_where_the_encoder_has_it(encoder, place):
    _, variables, batch, out = made(encoder=encoder)
    joined = np.concatenate([out[name] for name in MODALITIES], axis=-1)
    last = batch["text_mask"].sum(1) - 1 if place == "last" else np.zeros(4, int)
    params = variables["params"]["fusion"]
    wanted = joined[np.arange(4), last] @ params["kernel"] + params["bias"]
    np.testing.assert_allclose(out["fusion"], wanted, atol=1e-5)


def test_a_row_without_audio_or_vision_has_none_of_it():
    model, variables, batch, _ = made()
    for name in ("audio", "vision"):
        batch[f"{name}_mask"] = batch[f"{name}_mask"] & (np.arange(4) > 0)[:, None]
    out = run(model, variables, batch)
    for name in ("audio", "vision"):
        np.testing.assert_array_equal(out["features"][name][0], 0)
        np.testing.assert_array_equal(out[name][0], 0)
        assert not out["masks"][name][0].any() and out["masks"][name][1].any()
    assert np.isfinite(out["pred"]).all()


def test_a_row_without_text_still_has_audio():
    spec = dataclasses.replace(FEATURES, lengths=(5, 7, 6))
    model = MSGMBA(spec, encoder=None, dim=5, fusion_dim=7, align=True)
    batch = spec.example(4)
    batch["text_mask"] = np.zeros_like(batch["text_mask"])
    batch["text"] = np.zeros_like(batch["text"])
    variables = init(model, batch)
    before = run(model, variables, batch)["pred"]
    after = run(model, variables, {**batch, "audio": batch["audio"] + 1})["pred"]
    present = batch["audio_mask"].any(1)
    assert np.abs(after - before)[present].min() > 1e-5


def test_the_encoders_attention_can_be_captured():  # Fig. 6
    model, variables, batch, _ = made(encoder=BERT)
    _, state = model.apply(variables, batch, train=False, mutable=["intermediates"])
    layers = state["intermediates"]["encoder"]["encoder"]["layer"]
    for i in ("0", "1"):
        (attention,) = layers[i]["attention"]["self"]["attention"]
        assert attention.shape == (4, 2, 5, 5)
        np.testing.assert_allclose(attention.sum(-1), 1, rtol=1e-5)


@pytest.mark.parametrize(
    "fields,message",
    [
        (dict(recurrent="LSTM"), 'recurrent is "LSTM"; give one of sLSTM, bLSTM'),
        (dict(routing="straight"), "give one of matched, crossed"),
        (dict(pooling="max"), "give one of cls, mean"),
        (dict(gates=("text", "video")), r"gates has \['video'\]; choose from text"),
    ],
)
def test_unknown_choices(fields, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda: made(**fields))


def test_rows_that_no_piece_has():
    spec = dataclasses.replace(SPEC, lengths=(5, 7, 5))
    with pytest.raises(ValueError, match=r"\(5, 7, 5\).*config.model.align=True"):
        MSGMBA(spec, **TINY).init(jax.random.key(0), spec.example(2), train=False)
