"""MSG/MBA: the stages of the paper, every row of its tables, and padding on either side."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from configs import msg_mba
from msajax import parallel
from msajax.data.spec import MODALITIES, Corpus, Spec, Split
from msajax.models.msg_mba.mba import MBA
from msajax.models.msg_mba.msg import MSG
from msajax.models.msg_mba.system import MSGMBA
from msajax.train import step
from msajax.train.plan import Phase
from msajax.weights import template
from tests import toys
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
    steps = max(spec.lengths)
    lengths = np.random.default_rng(seed).integers(2, steps + 1, rows)
    mask = np.arange(steps) < lengths[:, None]
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


def drawn(model, batch):
    """Random variables, without compiling their initialisation; mu is the model's."""
    draw = np.random.default_rng(2).normal

    def value(path, leaf):
        if path[-1].key == "mu":
            return np.float32(model.mu)
        return draw(scale=0.4, size=leaf.shape).astype(np.float32)

    shapes = jax.eval_shape(
        functools.partial(model.init, train=False), jax.random.key(0), batch
    )
    return jax.tree_util.tree_map_with_path(value, shapes)


@functools.cache
def compiled(model):
    return jax.jit(functools.partial(model.apply, train=False))


def run(model, variables, batch):
    """The outputs in evaluation, of one program for all batches of a shape."""
    return compiled(model)(variables, batch)


@functools.cache
def made(spec=SPEC, **fields):
    """(model, variables, batch, outputs)."""
    model, batch = MSGMBA(spec, **{**TINY, **fields}), aligned(spec)
    variables = drawn(model, batch)
    return model, variables, batch, run(model, variables, batch)


# Each row of the tables -----------------------------------------------------------

RNNS = ("audio_rnn", "vision_rnn")
MSGS = ("msg_text", "msg_audio", "msg_vision")
MBAS = ("mba_audio", "mba_vision")
MODULES = {  # Table III, besides text, fusion and head
    "no_modules": RNNS,
    "msg_t": (*RNNS, MSGS[0]),
    "msg_ta": (*RNNS, *MSGS[:2]),
    "msg_tv": (*RNNS, MSGS[0], MSGS[2]),
    "msg_tav": (*RNNS, *MSGS),
    "no_shift_loss": (*RNNS, *MSGS, *MBAS),
    "msg_mba": (*RNNS, *MSGS, *MBAS),
}
XL = dict(encoder=dataclasses.replace(XLNET, n_layer=1))
TABLES = (
    *((row, {}) for row in MODULES),  # III
    *((row, XL) for row in ("no_modules", "msg_tav", "no_shift_loss", "msg_mba")),  # V
    *(  # VI
        ("msg_mba", {**text, "recurrent": name})
        for text in ({}, XL)
        for name in ("bLSTM", "sGRU", "bGRU")
    ),
)


# Compiled each time: what the registry's tests, of BERT and sLSTM, do not see.
COMPILED = ("msg_mba", {**XL, "recurrent": "bGRU"}), ("audio_vision", {})


def waiting(rows):
    """Rows of the tables, those that `make test-all` compiles marked."""
    return [
        pytest.param(*row, marks=[] if row in COMPILED else pytest.mark.slow)
        for row in rows
    ]


def first_step(spec=SPEC, **fields):
    """Shapes of the parameters, and a function that returns the gradients of a first step without dropout."""
    # mu has a gradient only where it binds, and the recurrent kernel of an sLSTM only
    # from other steps than the first, [CLS], where no module mixes the steps.
    small = {**TINY, "mu": 0.05, "pooling": "mean", **fields}
    model, batch = MSGMBA(spec, **small), aligned(spec)

    def gradients():
        @jax.jit
        @jax.value_and_grad
        def run(variables):
            options = dict(train=False, progress=PROGRESS, method="loss")
            return model.apply(variables, batch, **options)[0]

        loss, found = run(drawn(model, batch))
        assert np.isfinite(loss)
        return found["params"]

    return template(model, batch, train=False)["params"], gradients


def of_tables_3_5_and_6(row, fields):
    return first_step(**msg_mba.ROWS.get(row, {}), **fields)


@pytest.mark.parametrize("row,fields", TABLES)
def test_rows_of_tables_3_5_and_6(row, fields):
    params, _ = of_tables_3_5_and_6(row, fields)
    assert set(params) == {"encoder", "fusion", "head", *MODULES[row]}
    width = 6 + 7 * (2 if fields.get("recurrent", "s")[0] == "b" else 1)
    assert params["fusion"]["kernel"].shape == (width, 7)


@pytest.mark.parametrize("row,fields", waiting(TABLES))
def test_gradients_of_rows_of_tables_3_5_and_6(row, fields):
    params, gradients = of_tables_3_5_and_6(row, fields)
    found = gradients()
    assert jax.tree.structure(found) == jax.tree.structure(params)
    for path, leaf in jax.tree_util.tree_leaves_with_path(found):
        assert np.isfinite(leaf).all() and np.abs(leaf).max() > 0, path


MODALITY_ROWS = {  # Table IV: the modules besides fusion and head
    "audio": ("audio_rnn",),
    "vision": ("vision_rnn",),
    "text": ("encoder",),
    "audio_vision": (*RNNS, "msg_audio", "msg_vision"),
    "text_audio": ("encoder", RNNS[0], *MSGS[:2], MBAS[0]),
    "text_vision": ("encoder", RNNS[1], MSGS[0], MSGS[2], MBAS[1]),
}


def of_table_4(row):
    present = msg_mba.ROWS[row]["modalities"]
    spec = without(SPEC, *(m for m in MODALITIES if m not in present))
    encoder = ONE_LAYER if "text" in present else None
    # Where there is nothing to cross, each gate reads the one adjustment that there is.
    return first_step(spec, encoder=encoder, routing="crossed")


@pytest.mark.parametrize("row", MODALITY_ROWS)
def test_rows_of_table_4(row):
    assert set(of_table_4(row)[0]) == {"fusion", "head", *MODALITY_ROWS[row]}


@pytest.mark.parametrize("row,_", waiting((row, {}) for row in MODALITY_ROWS))
def test_gradients_of_rows_of_table_4(row, _):
    _, gradients = of_table_4(row)
    for name, found in gradients().items():
        assert any(np.abs(g).max() > 0 for g in jax.tree.leaves(found)), name


@pytest.mark.slow
@pytest.mark.parametrize("row", ["msg_mba", *msg_mba.ROWS])
def test_an_epoch_of_each_row(row, tmp_path):
    fields = dict(msg_mba.ROWS.get(row, {}))
    present = fields.pop("modalities", MODALITIES)
    spec = without(FEATURES, *(m for m in MODALITIES if m not in present))
    splits = {}
    for i, name in enumerate(("train", "valid", "test")):
        batch = aligned(spec, rows=4, seed=i)
        arrays = {k: v for k, v in batch.items() if k not in ("index", "valid")}
        splits[name] = Split(np.arange(4).astype(str), np.full(4, "words"), arrays)
    devices = parallel.find_devices(1)
    data = toys.on_devices(devices, spec=spec, given=Corpus("demo", splits))
    system = MSGMBA(spec, **{**TINY, "encoder": None, **fields})
    phase = Phase(epochs=1, batch_size=4)
    folders = {1: tmp_path}
    ((book, best),) = toys.train(system, [phase], data, folders)
    (history,) = book.history
    weighted = system.shift_weights[0] > 0
    assert (history["train_loss"] > history["train_task"]) == (
        weighted and len(present) > 1
    )
    before = step.init(system, jax.random.key(1)).params
    moved = {k for k, x in best.params.items() if not np.array_equal(x, before[k])}
    named = MODALITY_ROWS.get(row) or MODULES[row]
    assert {k.split("/")[0] for k in moved} == {"fusion", "head", *named} - {"encoder"}


@pytest.mark.parametrize("encoder,layer", [(BERT, 0), (BERT, 1), (BERT, 2), (XLNET, 1)])
def test_the_layer_of_msg_t(encoder, layer):  # Fig. 5
    _, variables, batch, out = made(encoder=encoder, layer=layer, post_norm=False)

    @jax.jit
    def shift(params, f):
        settings = dict(mask=batch["text_mask"], segments=batch["text_type"])
        plain = encoder.encoder(pooler=False).apply(
            {"params": params["encoder"]}, batch["text_ids"], train=False, **settings
        )
        msg = {"params": params["msg_text"]}
        return MSG().apply(msg, plain.hidden[layer], f, train=False)

    shifted, h_s = shift(variables["params"], out["features"])
    np.testing.assert_allclose(out["shifts"]["text"], h_s, atol=1e-5)
    if layer == 2:  # nothing follows
        real = batch["text_mask"][..., None]
        np.testing.assert_allclose(out["text"], shifted * real, atol=1e-5)
    else:
        assert np.abs(out["text"] - shifted).max() > 0.01


def test_there_is_no_layer_13():
    with pytest.raises(ValueError, match="inject_after=3, but the encoder has 2"):
        jax.eval_shape(lambda: made(encoder=BERT, layer=3))


# The stages ---------------------------------------------------------------------


@pytest.mark.parametrize("routing", ["matched", "crossed"])
def test_stages_by_hand(routing):
    _, variables, batch, out = made(
        FEATURES, encoder=None, routing=routing, post_norm=False, kernel_sizes=(1, 3, 5)
    )
    mask = batch["text_mask"]

    @jax.jit
    def stages(params, f):
        def msg(name, x, others):
            variables = {"params": params[f"msg_{name}"]}
            m[name], h_s[name] = MSG().apply(variables, x, others, train=False)

        m, h_s, p_att, x_att = {}, {}, {}, {}
        msg("text", batch["text"], f)
        for name, other in (("audio", "vision"), ("vision", "audio")):
            source = name if routing == "matched" else other
            mba = MBA(5, 5, kernel_sizes=(1, {"audio": 3, "vision": 5}[source]))
            variables = {"params": params[f"mba_{source}"]}
            text, p_att[source], x_att[source] = mba.apply(
                variables, m["text"], f[source], mask
            )
            msg(name, f[name], {"text": text, other: f[other]})
        return m, h_s, p_att, x_att

    params = variables["params"]
    m, h_s, p_att, x_att = stages(params, out["features"])
    for name in ("audio", "vision"):
        np.testing.assert_allclose(out["weights"][name], p_att[name], atol=1e-5)
        np.testing.assert_allclose(out["attention"][name], x_att[name], atol=1e-5)
    for name in MODALITIES:
        np.testing.assert_allclose(out["shifts"][name], h_s[name], atol=1e-5)
        np.testing.assert_allclose(out[name], m[name], atol=1e-5)

    params = jax.tree.map(np.asarray, params)
    joined = np.concatenate([m[name] for name in MODALITIES], axis=-1)
    h = joined[:, 0] @ params["fusion"]["kernel"] + params["fusion"]["bias"]
    np.testing.assert_allclose(out["fusion"], h, atol=1e-5)
    pred = h @ params["head"]["kernel"] + params["head"]["bias"]
    np.testing.assert_allclose(out["pred"], pred[:, 0], atol=1e-5)


def test_mean_pooling_is_over_real_steps():
    model, variables, batch, out = made(FEATURES, encoder=None, pooling="mean")
    params = jax.tree.map(np.asarray, variables["params"]["fusion"])
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


def test_what_the_shifting_losses_reach():
    model, variables, batch, _ = made(layer=0)

    @jax.jit
    @jax.jacrev
    def gradients(params):
        options = dict(train=False, progress=PROGRESS, method="loss")
        terms = model.apply({"params": params}, batch, **options)[1]
        return {name: terms[f"shift_{name}"] for name in MODALITIES}

    for name, found in gradients(variables["params"]).items():
        moved = {k for k, v in found.items() if any(map(np.any, jax.tree.leaves(v)))}
        reached = {"encoder", "msg_text", *RNNS}
        if name != "text":
            reached |= {f"msg_{name}", f"mba_{name}"}
        assert moved == reached


# Padding and what is missing ------------------------------------------------------


def test_xlnet_predicts_alike_with_padding_on_either_side():
    fields = dict(scalar_weights=True, recurrent="bGRU")
    model, variables, right, out = made(encoder=XLNET, **fields)
    left = {}
    shifts = 5 - right["text_mask"].sum(1)
    assert shifts.any()
    for key, x in right.items():
        rows = zip(x, shifts, strict=True)
        left[key] = np.stack([np.roll(r, n, axis=0) if r.ndim else r for r, n in rows])
    other = run(model, variables, left)
    np.testing.assert_allclose(other["pred"], out["pred"], atol=1e-5)
    for name in MODALITIES:
        found, wanted = other[name][left["text_mask"]], out[name][right["text_mask"]]
        np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_what_stands_on_padding_at_the_left_changes_nothing():
    model, variables, _, _ = made(encoder=XLNET)
    batch = aligned(SPEC, side="left")
    real, noisy = batch["text_mask"], dict(batch)
    for name in ("audio", "vision"):
        noisy[name] = np.where(real[..., None], batch[name], np.float32(7))
    for name in ("text_ids", "text_type"):
        noisy[name] = np.where(real, batch[name], 1 - batch[name])
    found, wanted = (run(model, variables, x)["pred"] for x in (noisy, batch))
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize(
    "encoder,place", [(BERT, "first"), (XLNET, "last")], ids=["BERT", "XLNet"]
)
def test_cls_is_where_the_encoder_has_it(encoder, place):
    _, variables, batch, out = made(encoder=encoder)
    joined = np.concatenate([out[name] for name in MODALITIES], axis=-1)
    last = batch["text_mask"].sum(1) - 1 if place == "last" else np.zeros(4, int)
    params = jax.tree.map(np.asarray, variables["params"]["fusion"])
    wanted = joined[np.arange(4), last] @ params["kernel"] + params["bias"]
    np.testing.assert_allclose(out["fusion"], wanted, atol=1e-5)


def test_a_row_without_audio_or_vision_has_none_of_it():
    model, variables, batch, _ = made()
    batch = dict(batch)
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
    variables = drawn(model, batch)
    before = run(model, variables, batch)["pred"]
    after = run(model, variables, {**batch, "audio": batch["audio"] + 1})["pred"]
    present = batch["audio_mask"].any(1)
    assert np.abs(after - before)[present].min() > 1e-5


@pytest.mark.parametrize("encoder", [ONE_LAYER, None])
def test_a_row_without_text_has_the_steps_of_the_others(encoder):
    spec = SPEC if encoder else FEATURES
    model, variables, batch, _ = made(spec, encoder=encoder, pooling="mean")
    lengths = dict(zip(MODALITIES, (0, 4, 2), strict=True))
    batch = dict(batch)
    for name, length in lengths.items():
        mask = batch[f"{name}_mask"].copy()
        mask[0] = np.arange(5) < length
        batch[f"{name}_mask"] = mask
        if name in batch:
            draw = np.random.default_rng(length).normal(size=batch[name].shape)
            batch[name] = np.where(mask[..., None], draw.astype(np.float32), 0)
    out = run(model, variables, batch)
    for name in ("audio", "vision"):
        wanted = [True] * 4 + [False], batch["text_mask"][1]
        np.testing.assert_array_equal(out["masks"][name][:2], wanted)
        assert np.abs(out[name][0, :4]).max(axis=-1).min() > 0
    np.testing.assert_array_equal(out["text"][0], 0)
    changed = {**batch, "audio": batch["audio"].copy()}
    changed["audio"][0, 3] += 1
    moved = np.abs(run(model, variables, changed)["pred"] - out["pred"]) > 1e-5
    assert moved[0] and not moved[1:].any()
    field = "text_ids" if encoder else "text"
    changed = {**batch, field: batch[field].copy()}
    changed[field][0] = 1
    found = run(model, variables, changed)["pred"]
    np.testing.assert_allclose(found, out["pred"], atol=1e-6)


def test_the_encoders_attention_can_be_captured():  # Fig. 6
    model, variables, batch, _ = made(encoder=BERT)
    apply = functools.partial(model.apply, train=False, mutable=["intermediates"])
    _, state = jax.jit(apply)(variables, batch)
    layers = state["intermediates"]["encoder"]["encoder"]["layer"]
    for i in ("0", "1"):
        (attention,) = layers[i]["attention"]["self"]["attention"]
        assert attention.shape == (4, 2, 5, 5)
        np.testing.assert_allclose(attention.sum(-1), 1, rtol=1e-5)


@pytest.mark.parametrize(
    "fields,message",
    [
        (dict(recurrent="LSTM"), 'recurrent is "LSTM"; did you mean "sLSTM"'),
        (dict(routing="straight"), "Known: crossed, matched"),
        (dict(pooling="max"), "Known: cls, mean"),
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
