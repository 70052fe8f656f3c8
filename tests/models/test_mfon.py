"""MFON: its one query, its mask, its losses, its three phases, and the rows of its ablations."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from msajax import losses, models, parallel
from msajax.data.spec import MODALITIES, Spec
from msajax.models.mfon import MFON
from msajax.nn.transformer import CrossmodalEncoder
from msajax.run import recipe
from msajax.train import feed, step
from msajax.weights import template
from tests import random_bits, toys

FIELDS = (*Spec.fields, "text_ids", "text_type", "label_audio", "label_vision")
SPEC = Spec(dims=(6, 3, 4), lengths=(5, 9, 7), num_train=12, fields=FIELDS)
TINY = dict(dim=8, heads=2, layers=(1, 2), teacher_layers=(2, 1))
STILL = dict(dropout=0.0, text_dropout=0.0, teacher_dropouts=(0.0, 0.0))
BATCH = SPEC.example(4, seed=1)


@functools.cache
def parameters(spec=SPEC, **fields):
    """Random parameters, none of them a constant."""
    rng = np.random.default_rng(0)
    made = template(MFON(spec, **{**TINY, **fields}), spec.example(2), train=False)
    return jax.tree.map(
        lambda leaf: rng.normal(0, 0.4, leaf.shape).astype(np.float32), made
    )


@functools.cache
def forward(spec=SPEC, method="__call__", **fields):
    """Jitted (variables, batch) -> outputs in evaluation."""
    model = MFON(spec, **{**TINY, **fields})
    return jax.jit(lambda v, b: model.apply(v, b, train=False, method=method))


def full_attention(params, f, m, *, causal, mask, source_mask):
    """Modal Prompt Attention of every text position: [B, L, dim]."""
    layers = params["layers"]["fc1"]["kernel"].shape[0]
    encoder = CrossmodalEncoder(heads=2, layers=layers, expansion=1, causal=causal)
    masks = dict(mask=mask, source_mask=source_mask)
    return encoder.apply({"params": params}, f["text"], f[m], **masks, train=False)


@pytest.mark.parametrize("mask", ["static", "none"])
@pytest.mark.parametrize("m", ["audio", "vision"])
def test_one_query_is_position_0_of_all(mask, m):
    # The authors' mask knows padded lengths only, so padding counts as real under it.
    padded = mask == "static"
    model = MFON(SPEC, **TINY, mask=mask, padded=padded)
    f = forward(method="features")(parameters(), BATCH)
    real = np.ones_like if padded else np.asarray
    masks = dict(mask=real(BATCH["text_mask"]), source_mask=real(BATCH[f"{m}_mask"]))

    def one(params, f):
        variables = {"params": {**parameters()["params"], f"mpa_{m}": params}}
        options = dict(train=False, method="represent")
        return model.apply(variables, f, BATCH, **options)[m]

    def full(params, f):
        return full_attention(params, f, m, causal=padded, **masks)[:, 0]

    def value_and_gradient(run):
        def loss(params, f):
            x = run(params, f)
            return jnp.sum(jnp.sin(3 * x)), x

        return jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))

    params = parameters()["params"][f"mpa_{m}"]
    gradients, x = value_and_gradient(one)(params, f)
    wanted, y = value_and_gradient(full)(params, f)
    np.testing.assert_allclose(x, y, atol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), gradients, wanted
    )
    assert np.abs(wanted[1][m]).max() > 1e-3


def last_key(mask, m, batch=BATCH, **fields):
    """Index of the last key of modality m that moves the prediction, per row; -1 for none."""
    predict = forward(mask=mask, **fields)
    before = predict(parameters(), batch)[m]
    seen = np.full(len(before), -1)
    for key in range(batch[m].shape[1]):
        changed = batch[m].copy()
        changed[:, key] += 1
        after = predict(parameters(), {**batch, m: changed})[m]
        seen[np.abs(after - before).max(axis=1) > 1e-6] = key
    return seen


@pytest.mark.parametrize("m,index", [("audio", 1), ("vision", 2)])
def test_the_mask_is_a_setting(m, index):
    length, text = SPEC.lengths[index], BATCH["text_mask"].sum(1)
    real = BATCH[f"{m}_mask"].sum(1) - 1
    assert len(set(text)) > 1 and real.max() > length - SPEC.lengths[0]
    every = np.full(4, length - 1)
    static, sample = every - 4, every - (text - 1)  # keys 0 .. T - L
    np.testing.assert_array_equal(last_key("none", m), real)
    np.testing.assert_array_equal(last_key("static", m), np.minimum(static, real))
    np.testing.assert_array_equal(last_key("sample", m), np.minimum(sample, real))
    np.testing.assert_array_equal(last_key("none", m, padded=True), every)
    np.testing.assert_array_equal(last_key("static", m, padded=True), static)


def test_a_sample_with_its_own_mask_is_the_authors_on_it_alone():
    tokens = 3
    row = {k: v[:1] for k, v in BATCH.items()}
    row["text_mask"] = np.arange(5)[None] < tokens
    for m in ("audio", "vision"):
        row[f"{m}_mask"] = np.ones_like(row[f"{m}_mask"])
    ours = forward(mask="sample")(parameters(), row)["pred"]
    alone = {**row, "text": row["text"][:, :tokens], "text_mask": row["text_mask"]}
    alone["text_mask"] = alone["text_mask"][:, :tokens]
    short = dataclasses.replace(SPEC, lengths=(tokens, *SPEC.lengths[1:]))
    np.testing.assert_allclose(
        ours, forward(short, mask="static")(parameters(), alone)["pred"], atol=1e-6
    )
    static = forward(mask="static")(parameters(), row)["pred"]
    assert np.abs(ours - static).max() > 1e-4


def test_prompts_belong_to_the_first_steps():
    f = forward(method="features")(parameters(), BATCH)
    plain = forward(method="features", prompts=False)(parameters(), BATCH)
    for m in ("audio", "vision"):
        prompt = parameters()["params"][f"prompt_{m}"]
        np.testing.assert_allclose(f[m] - plain[m], [prompt] * 4, atol=1e-5)
    np.testing.assert_array_equal(f["text"], plain["text"])
    start = step.init(MFON(SPEC, **TINY), random_bits.key(0)).params
    assert (
        0 <= start["prompt_audio"].min() < 0.1 < 0.9 < start["prompt_audio"].max() < 1
    )


def test_the_mean_of_the_guides_real_steps_can_be_the_query():
    f = forward(method="features")(parameters(), BATCH)["text"]
    x = forward(pooling="mean")(parameters(), BATCH)
    steps = BATCH["text_mask"]
    for row, real, query in zip(f, steps, x["text"], strict=True):
        np.testing.assert_allclose(query, row[real].mean(0), atol=1e-5)


def test_without_attention_a_modality_is_the_mean_of_its_real_steps():
    params = parameters(attention=False)
    assert not [k for k in params["params"] if k.startswith(("mpa", "prompt"))]
    f = forward(method="features", attention=False)(params, BATCH)
    x = forward(attention=False)(params, BATCH)
    np.testing.assert_allclose(x["text"], f["text"][:, 0], atol=1e-6)
    for m in ("audio", "vision"):
        for row, real, mean in zip(f[m], BATCH[f"{m}_mask"], x[m], strict=True):
            np.testing.assert_allclose(mean, row[real].mean(0), atol=1e-5)


def test_a_causal_teacher_is_one_that_sees_a_frame():
    first = dict(BATCH)
    for m in ("audio", "vision"):
        first[f"{m}_mask"] = BATCH[f"{m}_mask"] & (np.arange(BATCH[m].shape[1]) == 0)
    for m in ("audio", "vision"):
        causal = forward(causal_teachers=True, method=f"{m}_pred")
        seen = forward(method=f"{m}_pred")
        found = causal(parameters(), BATCH)["pred"]
        np.testing.assert_allclose(found, seen(parameters(), first)["pred"], atol=1e-5)
        assert np.abs(found - seen(parameters(), BATCH)["pred"]).max() > 1e-3


def test_teachers_run_without_dropout_where_they_teach():
    model = MFON(SPEC, **{**TINY, "teacher_dropouts": (0.5, 0.5)})
    rngs = {"dropout": random_bits.key(1)}
    apply = functools.partial(model.apply, rngs=rngs)
    run = jax.jit(apply, static_argnames=("train", "method"))
    moving, still = (run(parameters(), BATCH, train=train) for train in (True, False))
    for m in ("audio", "vision"):
        teacher = f"teacher_{m}"
        np.testing.assert_allclose(moving[teacher], still[teacher], atol=1e-6)
        assert np.abs(moving[m] - still[m]).max() > 1e-3
        trained, kept = (
            run(parameters(), BATCH, train=train, method=f"{m}_pred")["pred"]
            for train in (True, False)
        )
        assert np.abs(trained - kept).max() > 1e-3


# What each term of the loss reaches; the text is the query of both attentions.
TEXT = {"encoder", "project_text"}
VISION, AUDIO = (
    {f"{part}_{m}" for part in ("project", "prompt", "mpa")}
    for m in ("vision", "audio")
)
REACHES = {
    "task": TEXT | VISION | AUDIO | {"decoder"},
    "kl_vision": TEXT | VISION,
    "kl_audio": TEXT | AUDIO,
    "nce_vision": TEXT | VISION,
    "nce_audio": TEXT | AUDIO,
}


def test_every_loss_reaches_what_it_names_and_no_teacher():
    fields = dict(encoder=toys.BERT, **TINY)
    model = MFON(SPEC, **{**fields, **STILL}, distillation=0.5, contrast=0.25)
    variables = parameters(encoder=toys.BERT)

    def terms(params):
        options = dict(train=True, progress={}, method="loss")
        loss, found = model.apply({"params": params}, BATCH, **options)
        return {"loss": loss, **found}

    jacobian, values = jax.jit(lambda p: (jax.jacrev(terms)(p), terms(p)))(
        variables["params"]
    )
    jacobian, values = jax.device_get((jacobian, values))
    assert values.keys() == {"loss", *REACHES}
    kl = values["kl_vision"] + values["kl_audio"]
    nce = values["nce_vision"] + values["nce_audio"]
    total = values["task"] + 0.5 * kl + 0.25 * nce
    np.testing.assert_allclose(values["loss"], total, rtol=1e-6)
    for name, parts in REACHES.items():
        moved = {k for k, v in jacobian[name].items() if _largest(v) > 1e-7}
        assert moved == parts, name


def _largest(tree):
    return max(np.abs(leaf).max() for leaf in jax.tree.leaves(tree))


def test_validation_sees_the_task_alone():
    loss, terms = jax.jit(
        lambda v: MFON(SPEC, **TINY).apply(
            v, BATCH, train=False, progress={}, method="loss"
        )
    )(parameters())
    assert terms.keys() == {"pred"}
    wanted = np.mean((terms["pred"] - BATCH["label"]) ** 2)
    np.testing.assert_allclose(loss, wanted, rtol=1e-6)


def test_a_negative_is_any_valid_row_of_the_batch():
    model = MFON(SPEC, **{**TINY, **STILL})
    run = jax.jit(
        lambda batch: model.apply(
            parameters(), batch, train=True, progress={}, method="loss"
        )[1]["nce_audio"]
    )
    half = {**BATCH, "valid": np.arange(4) < 2}
    rows = {k: v[:2] for k, v in BATCH.items()}
    np.testing.assert_allclose(run(half), run(rows), rtol=1e-5)
    assert abs(run(half) - run(BATCH)) > 1e-3


@pytest.mark.parametrize("absent", ["audio", "text"])
def test_what_a_row_lacks_is_neither_taught_nor_contrasted(absent):
    mask = BATCH[f"{absent}_mask"] & (np.arange(4) > 0)[:, None]
    batch = {**BATCH, f"{absent}_mask": mask}
    model = MFON(SPEC, **{**TINY, **STILL})
    options = dict(train=True, progress={}, method="loss")
    _, terms = jax.jit(lambda v, b: model.apply(v, b, **options))(parameters(), batch)
    out = forward()(parameters(), batch)
    printed = MFON(SPEC, **TINY, reverse_kl=True)
    for m in ("audio", "vision"):
        kl = losses.softmax_kl(out[m], out[f"teacher_{m}"])  # KL(Z || x)
        wanted = np.mean(kl[1:] if m == absent else kl)
        found = printed._distil(out, m, batch)
        np.testing.assert_allclose(found, wanted, rtol=1e-4)
        assert abs(found - terms[f"kl_{m}"]) > 1e-3
        kl = losses.softmax_kl(out[f"teacher_{m}"], out[m])
        wanted = np.mean(kl[1:] if m == absent else kl)
        np.testing.assert_allclose(terms[f"kl_{m}"], wanted, rtol=1e-4)
        text = out["text"]
        nce = losses.info_nce(out[m], text, text, where=np.ones(4, bool))
        wanted = np.mean(nce[1:] if absent in (m, "text") else nce)
        np.testing.assert_allclose(terms[f"nce_{m}"], wanted, rtol=1e-4)


@pytest.mark.parametrize("own", [True, False])
def test_teachers_have_labels_of_their_own(own):
    model = MFON(SPEC, **{**TINY, **STILL}, own_labels=own)
    for m in ("audio", "vision"):
        method, label = f"{m}_loss", f"label_{m}" if own else "label"
        options = dict(train=True, progress={}, method=method)
        run = jax.jit(functools.partial(model.apply, **options))
        loss, _ = run(parameters(), BATCH)
        pred = forward(method=f"{m}_pred")(parameters(), BATCH)["pred"]
        wanted = np.mean((pred - BATCH[label]) ** 2)
        np.testing.assert_allclose(loss, wanted, rtol=1e-5)
    if own:
        batch = {k: v for k, v in BATCH.items() if k != "label_vision"}
        options["method"] = "vision_loss"
        with pytest.raises(ValueError, match="no label_vision.*own_labels=False"):
            model.apply(parameters(), batch, **options)


@pytest.mark.parametrize(
    "field,message",
    [
        ("mask", 'config.model.mask is "statc"; did you mean "static"'),
        ("query", "config.model.query"),
        ("pooling", "config.model.pooling"),
        ("modality", "config.model.modality"),
    ],
)
def test_unknown_settings(field, message):
    with pytest.raises(ValueError, match=message):
        template(MFON(SPEC, **{field: "statc"}), BATCH, train=False)


# Three phases ----------------------------------------------------------------


def phases_and_fields(row=""):
    """The phases and the tiny system of CH-SIMS's recipe; its batches are updates, of 4 rows."""
    options = recipe.load(f"mfon:sims{row and '/'}{row}")
    # Its phases have no batches of their own.
    changes = {"train.batch_size": 4, "train.epochs": 2}
    plan = recipe.change(options, changes).plan
    return plan, {**options.model, **TINY}


SMALL = toys.examples(SPEC, (10, 4, 4), seed=10)


def fit(folders, phases=None, **options):
    taught, fields = phases_and_fields()
    devices = parallel.find_devices(1)
    data = toys.on_devices(devices, spec=SPEC, given=SMALL)
    return toys.train(MFON(SPEC, **fields), phases or taught, data, folders, **options)


def same(a, b):
    return jax.tree.all(jax.tree.map(np.array_equal, a, b))


@pytest.fixture(scope="module", autouse=True)
def a_dispatch_is_a_step():
    """So a run that was stopped within an epoch runs the same programs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feed, "_STEPS", 1)
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Seed 1 through all three phases."""
    ((book, best),) = fit({1: tmp_path_factory.mktemp("whole")})
    return book, best


@pytest.mark.slow
def test_teachers_stay_as_their_phases_left_them(whole, tmp_path):
    book, best = whole
    names = [row["phase"] for row in book.history]
    assert names == ["vision"] * 2 + ["audio"] * 2 + ["fuse"] * 2
    ((_, taught),) = fit({1: tmp_path}, phases_and_fields()[0][:2])
    teachers = {k for k in best.params if k.startswith("teacher_")}
    assert {k.split("/")[0] for k in teachers} == {"teacher_audio", "teacher_vision"}
    for path, value in best.params.items():
        assert bool((value == taught.params[path]).all()) == (path in teachers), path


@pytest.mark.slow
@pytest.mark.parametrize("stop_after", [2, 8, 14])
def test_resume_is_exact_within_each_phase(whole, tmp_path, stop_after):
    ((part, _),) = fit({1: tmp_path}, stop_after=stop_after)
    assert part.phase == stop_after // 6 and part.step == 2 and not part.finished
    ((resumed, again),) = fit({1: tmp_path})
    assert same(again, whole[1])
    assert resumed.history == whole[0].history


@pytest.mark.slow
def test_five_seeds_at_once(whole, tmp_path):
    folders = {seed: tmp_path / str(seed) for seed in (1, 2, 3, 4, 5)}
    made = fit(folders)
    assert all(book.finished and len(book.history) == 6 for book, _ in made)
    for path, value in made[0][1].params.items():
        wanted = whole[1].params[path]
        if path.endswith("attention/bias"):
            # The gradient by the keys' bias is rounding, of which Adam makes steps.
            value, wanted = value[:, ::2], wanted[:, ::2]
        np.testing.assert_allclose(value, wanted, atol=2e-4)
    finals = {book.history[-1]["valid_loss"] for book, _ in made}
    assert len(finals) == 5


# The rows of Tables 4 and 5 ---------------------------------------------------

PARTS = {  # the modules of each row's last phase
    "": TEXT | VISION | AUDIO | {"decoder"},
    "text": TEXT | {"decoder"},
    "vision": {"teacher_vision"},
    "audio": {"teacher_audio"},
    "no_prompts": {
        *("project_text", "project_audio", "project_vision", "mpa_audio"),
        *("mpa_vision", "decoder", "encoder"),
    },
    "vision_query": (TEXT | AUDIO | {"decoder", "project_vision"})
    | {"prompt_text", "mpa_text"},
    "no_mpa+no_losses": TEXT | {"project_audio", "project_vision", "decoder"},
    "audio_query": (TEXT | VISION | {"decoder", "project_audio"})
    | {"prompt_text", "mpa_text"},
}


# Fig. 4(a) in the place of its part, and without the row of another divergence.
NAMES = [name.partition("/")[2] for name in recipe.names() if "mfon:sims" in name]
ROWS = [*({*NAMES} - {"no_mpa", "equation_6"}), "no_mpa+no_losses"]


def terms_of(fields):
    """The terms of a row's loss in training."""
    if fields.get("modality"):
        return set()
    weights = {"kl": fields["distillation"], "nce": fields["contrast"]}
    return {"task", *(k for k, weight in weights.items() if weight)}


@pytest.mark.parametrize("row", sorted(ROWS))
def test_each_row_has_its_parts_and_losses(row):
    phases, fields = phases_and_fields(row)
    model = models.get("mfon")(SPEC, **{**fields, "encoder": None})
    params = step.shapes(model).params
    trained = {k for k in params if re.fullmatch(phases[-1].train, k)}
    wanted = PARTS.get(row, PARTS[""]) - {"encoder"}
    assert {k.split("/")[0] for k in trained} == wanted

    def loss(params, key):
        variables = step.variables(step.State(params, {}, {}))
        options = dict(train=True, progress={}, rngs={"dropout": key})
        return model.apply(variables, BATCH, method=phases[-1].loss, **options)

    _, terms = jax.eval_shape(loss, params, jax.random.key(0))
    kinds = {name.split("_")[0] for name in terms} - {"pred"}
    assert kinds == terms_of(fields)


@pytest.mark.slow
@pytest.mark.parametrize("row", sorted(ROWS))
def test_an_epoch_of_each_row(row, tmp_path):
    phases, fields = phases_and_fields(row)
    model = models.get("mfon")(SPEC, **{**fields, **STILL, "encoder": None})
    devices = parallel.find_devices(1)
    data = toys.on_devices(devices, spec=SPEC, given=SMALL)
    last = dataclasses.replace(phases[-1], epochs=1)
    ((book, best),) = toys.train(model, [last], data, {1: tmp_path})
    (history,) = book.history
    assert np.isfinite([v for k, v in history.items() if "loss" in k]).all()
    kinds = {k.split("_")[1] for k in history if k.startswith("train_")} - {"loss"}
    assert kinds == terms_of(fields)

    before = step.init(model, jax.random.key(1)).params
    moved = {k for k, x in best.params.items() if not np.array_equal(x, before[k])}
    wanted = PARTS.get(row, PARTS[""]) - {"encoder"}
    assert {k.split("/")[0] for k in moved} == wanted
    assert all(re.fullmatch(last.train, k) for k in moved)


def test_visual_as_query_gives_its_layers_to_text():
    params = parameters(query="vision")["params"]
    layers = {m: TINY["layers"][i] for i, m in enumerate(("audio", "text"))}
    for m, count in layers.items():
        assert params[f"mpa_{m}"]["layers"]["fc1"]["kernel"].shape[0] == count
    assert "prompt_vision" not in params and "mpa_vision" not in params
    x = forward(query="vision")(parameters(query="vision"), BATCH)
    f = forward(query="vision", method="features")(parameters(query="vision"), BATCH)
    np.testing.assert_allclose(x["vision"], f["vision"][:, 0], atol=1e-6)
    assert set(MODALITIES) <= set(x)


def test_rows_are_named():
    with pytest.raises(ValueError, match='did you mean "no_prompts"'):
        recipe.load("mfon:mosi/no_prompt")
