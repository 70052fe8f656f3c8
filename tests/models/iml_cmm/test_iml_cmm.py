"""IML-CMM: its passes over mixed batches, its losses, rows without labels, and its ablations."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.extend.core import jaxprs_in_params

from msajax import main
from msajax.data.spec import MODALITIES, Spec
from msajax.models.iml_cmm import IMLCMM, kan
from msajax.nn import mixup
from msajax.nn.mixup import Mixup
from msajax.run import recipe
from msajax.weights import template
from tests import random_bits, toys

LABELS = ("label_text", "label_audio", "label_vision")
FIELDS = (*Spec.fields, "text_ids", "text_type", *LABELS)
RANGE = (-1.0, 1.0)
SPEC = Spec((6, 3, 4), (5, 9, 7), 12, RANGE, fields=FIELDS)
TINY = dict(dim=6, tokens=2, heads=2, head_dim=3, mlp_dim=5, attention_dim=4)
TINY |= dict(fusion_layers=1, ahl_layers=1, grid_size=1, weights=(1.0, 0.5, 0.8, 0.4))
BATCH = SPEC.example(6, seed=1)
SWAP = np.array([3, 2, 1, 0, 5, 4])
MIXES = {
    "audio": Mixup(np.float32(0.3), SWAP),
    "vision": Mixup(np.float32(0.6), SWAP[::-1].copy()),
}
WHOLE = {m: mix._replace(share=np.float32(1)) for m, mix in MIXES.items()}
WEIGHTS = dict(zip(("all", *MODALITIES), TINY["weights"], strict=True))
ALL_TERMS = dict(mix_terms="all")  # AV-MC's: every pass is a whole one


def weighted(terms):
    """The loss of the batch as it is, from its terms."""
    return sum(weight * terms[name] for name, weight in WEIGHTS.items())


@functools.cache
def parameters(spec=SPEC, **fields):
    """Random parameters, none of them a constant."""
    rng = np.random.default_rng(0)
    made = template(IMLCMM(spec, **{**TINY, **fields}), spec.example(2), train=False)
    return jax.tree.map(
        lambda leaf: rng.normal(0, 0.4, leaf.shape).astype(np.float32), made
    )


@functools.cache
def run(method, spec=SPEC, **fields):
    """Jitted method of a system: (batch, *arguments) -> what it returns in training."""
    model, values = IMLCMM(spec, **{**TINY, **fields}), parameters(spec, **fields)

    def call(batch, *args):
        return model.apply(values, batch, *args, train=True, method=method)

    return jax.jit(call)


def with_mixed(batch, m, mix):
    """The batch with a modality mixed by hand."""
    x, mask = mix.sequences(batch[m], batch[f"{m}_mask"])
    return {**batch, m: np.asarray(x), f"{m}_mask": np.asarray(mask)}


def test_a_mixed_pass_is_the_network_on_the_mixed_batch():
    fields = dict(encoder=toys.BERT, **ALL_TERMS)
    batch = BATCH
    passes = run("passes", **fields)(batch, MIXES)
    batches = [batch, *(with_mixed(batch, m, mix) for m, mix in MIXES.items())]
    for out, given in zip(passes, batches, strict=True):
        wanted = run("__call__", **fields)(given)
        assert out.keys() == wanted.keys()
        for name, value in wanted.items():
            np.testing.assert_allclose(out[name], value, atol=1e-5, err_msg=name)
    for out, m in zip(passes[1:], MIXES, strict=True):
        assert np.abs(out["pred"] - passes[0]["pred"]).max() > 1e-4
        for name in MODALITIES:
            moved = np.abs(out[f"pred_{name}"] - passes[0][f"pred_{name}"]).max() > 1e-4
            assert moved == (name == m)


def equations(jaxpr):
    """All operations of a program."""
    for eqn in jaxpr.eqns:
        yield eqn
        for inner in jaxprs_in_params(eqn.params):
            yield from equations(inner)


def products(jaxpr, width):
    """Matrix products of a program by a kernel of so many inputs and outputs."""
    return sum(
        eqn.primitive.name == "dot_general" and eqn.invars[1].aval.shape == width
        for eqn in equations(jaxpr)
    )


@pytest.mark.parametrize("ffn,blocks", [("relu", 0), ("gelu", 5)])
def test_the_feed_forward_blocks_are_as_in_equation_7(ffn, blocks):
    # Of text, audio, vision, the text's second scale and the fusion; GELU has an erfc.
    model = IMLCMM(SPEC, **{**TINY, "ahl_layers": 2, "ffn": ffn})
    shapes = template(model, BATCH, train=False)
    predict = functools.partial(model.apply, train=False)
    jaxpr = jax.make_jaxpr(predict)(shapes, BATCH).jaxpr
    found = [eqn for eqn in equations(jaxpr) if eqn.primitive.name == "erfc"]
    assert len(found) == blocks
    assert IMLCMM(SPEC).ffn == "relu"


def test_the_encoder_runs_once_for_three_passes():
    model = IMLCMM(SPEC, **TINY, encoder=toys.BERT)
    shapes = parameters(encoder=toys.BERT)

    def count(mixes):
        def passes(values, batch):
            return model.apply(values, batch, mixes, train=True, method="passes")

        jaxpr = jax.make_jaxpr(passes)(shapes, BATCH).jaxpr
        # The first layer of BERT's feed-forward blocks: of no other part
        return products(jaxpr, (6, toys.BERT.intermediate_size))

    assert count({}) == count(MIXES) > 0


@pytest.mark.slow
def test_the_fusion_does_not_see_what_equations_23_and_24_mix():
    passes = run("passes")(BATCH, MIXES)
    for out, (m, mix) in zip(passes[1:], MIXES.items(), strict=True):
        wanted = run("__call__")(with_mixed(BATCH, m, mix))
        assert out.keys() == {m, f"pred_{m}"}
        for name, value in out.items():
            np.testing.assert_allclose(value, wanted[name], atol=1e-5, err_msg=name)
    # Their gradients reach the modality's own layers and head, and nothing else.
    model, values = IMLCMM(SPEC, **TINY), parameters()

    def consistency(params):
        options = dict(train=True, method="loss_of_mixes")
        _, terms = model.apply({"params": params}, BATCH, MIXES, **options)
        return terms["audio_mix"] + terms["vision_mix"]

    gradients = jax.jit(jax.grad(consistency))(values["params"])
    reached = {
        module
        for module, leaves in gradients.items()
        if any(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(leaves))
    }
    parts = ("project", "embed", "pool", "own_head")
    assert reached == {f"{part}_{m}" for part in parts for m in MIXES}


def test_a_whole_share_is_the_clean_batch():
    clean, *mixed = run("passes", **ALL_TERMS)(BATCH, WHOLE)
    for out in mixed:
        for name, value in clean.items():
            np.testing.assert_allclose(out[name], value, atol=1e-6, err_msg=name)
    total, terms = run("loss_of_mixes", **ALL_TERMS)(BATCH, WHOLE)
    np.testing.assert_allclose(terms["audio_mix"], weighted(terms), rtol=1e-5)
    np.testing.assert_allclose(terms["vision_mix"], weighted(terms), rtol=1e-5)
    np.testing.assert_allclose(total, 3 * weighted(terms), rtol=1e-5)


def loss_by_hand(m, mix, *, labels="blend", terms="all", weights=TINY["weights"]):
    """The loss of the batch with one modality mixed, from the network's outputs."""
    out = run("__call__")(with_mixed(BATCH, m, mix))
    total = 0.0
    for name, weight in zip(("", *MODALITIES), weights, strict=True):
        suffix = f"_{name}" if name else ""
        y, pred = BATCH[f"label{suffix}"], out[f"pred{suffix}"]
        loss = np.abs(pred - y).mean()
        if name in ("", m):
            other, share = y[mix.partner], float(mix.share)
            if labels == "blend":
                loss = np.abs(pred - (share * y + (1 - share) * other)).mean()
            else:
                loss = share * loss + (1 - share) * np.abs(pred - other).mean()
        if terms == "all":
            total += weight * loss
        elif name == m:
            total = loss  # equations 25, 26 and 32: no modality's weight
    return total


@pytest.mark.parametrize(
    "labels,terms",
    [
        pytest.param("blend", "all", marks=pytest.mark.slow),
        ("mixture", "all"),
        ("blend", "own"),
    ],
)
def test_both_readings_of_the_mixup_loss(labels, terms):
    fields = dict(mix_labels=labels, mix_terms=terms, mix_weights=(0.5, 2.0))
    total, found = run("loss_of_mixes", **fields)(BATCH, MIXES)
    out = run("__call__")(BATCH)
    for task in WEIGHTS:
        suffix = "" if task == "all" else f"_{task}"
        loss = np.abs(out[f"pred{suffix}"] - BATCH[f"label{suffix}"]).mean()
        np.testing.assert_allclose(found[task], loss, rtol=1e-4)
    mixed = {m: loss_by_hand(m, MIXES[m], labels=labels, terms=terms) for m in MIXES}
    for m, loss in mixed.items():
        np.testing.assert_allclose(found[f"{m}_mix"], loss, rtol=1e-4)
    wanted = weighted(found) + 0.5 * mixed["audio"] + 2 * mixed["vision"]
    np.testing.assert_allclose(total, wanted, rtol=1e-4)


def test_classes_take_the_cross_entropy_of_both_labels():
    spec = Spec((6, 3, 4), (5, 9, 7), 12, None, ("a", "b", "c"))
    batch = spec.example(6, seed=1)
    _, terms = run("loss_of_mixes", spec)(batch, MIXES)
    mix = MIXES["audio"]
    pred = run("__call__", spec)(with_mixed(batch, "audio", mix))["pred"]
    log_p = np.asarray(jax.nn.log_softmax(pred))
    soft = np.eye(3)[batch["label"]]
    soft = mix.share * soft + (1 - mix.share) * soft[mix.partner]
    np.testing.assert_allclose(
        terms["audio_mix"], -(soft * log_p).sum(1).mean(), rtol=1e-4
    )


def test_modalities_that_predict_alone_predict_classes():
    spec = Spec(
        (6, 3, 4), (5, 9, 7), 12, None, ("a", "b", "c"), (*Spec.fields, "label_audio")
    )
    batch = spec.example(6, seed=1)
    batch["label_audio"] = np.float32([0, 1, 2, 2, 1, 0])
    _, terms = run("loss_of_mixes", spec)(batch, {})
    pred = run("__call__", spec)(batch)["pred_audio"]
    log_p = np.asarray(jax.nn.log_softmax(pred))
    picked = log_p[np.arange(6), batch["label_audio"].astype(int)]
    np.testing.assert_allclose(terms["audio"], -picked.mean(), rtol=1e-4)


def test_audio_and_vision_have_draws_of_their_own(monkeypatch):
    keys = []

    def draw(key, rows, *, alpha):
        keys.append(jax.random.key_data(key))
        return MIXES["audio"]

    def drawn():
        options = dict(train=True, progress={}, method="loss", rngs=jax.random.key(0))
        IMLCMM(SPEC, **TINY).apply(parameters(), BATCH, **options)
        return keys

    monkeypatch.setattr(mixup, "draw", draw)
    first, second = jax.jit(drawn)()
    assert (first != second).any()


def test_draws_differ_per_step_and_repeat_per_seed():
    model = IMLCMM(SPEC, **TINY)
    values, batch = parameters(), jax.tree.map(jnp.asarray, BATCH)

    def loss(key, train):
        options = dict(progress={}, method="loss", rngs={"params": key})
        return model.apply(values, batch, train=train, **options)[1]

    step = jax.jit(lambda key: loss(key, True)["audio_mix"])
    keys = [random_bits.key(i) for i in (0, 1, 0)]
    first, second, again = map(step, keys)
    assert first == again
    assert abs(first - second) > 1e-4
    still = jax.eval_shape(lambda key: loss(key, False), keys[0])
    assert still.keys() == {"pred", *WEIGHTS}


def test_rows_without_labels_learn_from_predictions():
    spec = Spec((6, 3, 4), (5, 9, 7), 12, RANGE, fields=(*FIELDS, "labelled"))
    known = np.arange(6) < 4
    batch = {**BATCH, "labelled": known}
    for label in ("label", *LABELS):
        batch[label] = np.where(known, BATCH[label], 0.9)
    fields = dict(mix_at="tokens", **ALL_TERMS)
    total, terms = run("loss_of_mixes", spec, **fields)(batch, MIXES)
    clean, *mixed = run("passes", spec, **fields)(batch, MIXES)
    np.testing.assert_allclose(
        terms["all"], np.abs(clean["pred"] - BATCH["label"])[:4].mean(), rtol=1e-4
    )
    # Tokens are mixed, and so are the labels, with predictions where there are none.
    audio, share = np.asarray(clean["audio"]), 0.3
    tokens = share * audio + (1 - share) * audio[SWAP]
    np.testing.assert_allclose(mixed[0]["audio"], tokens, atol=1e-5)
    wanted = 0.0
    for name, weight in zip(("", *MODALITIES), TINY["weights"], strict=True):
        suffix = f"_{name}" if name else ""
        guess = np.asarray(clean[f"pred{suffix}"])
        label, counted = BATCH[f"label{suffix}"], known
        if name in ("", "audio"):
            label, counted = np.where(known, label, guess), known | True
            label = share * label + (1 - share) * label[SWAP]
        error = np.abs(mixed[0][f"pred{suffix}"] - label)
        wanted += weight * error[counted].mean()
    np.testing.assert_allclose(terms["audio_mix"], wanted, rtol=1e-4)
    assert total > terms["audio_mix"]


def test_labels_that_the_data_lacks_fall_away_with_a_note():
    model = IMLCMM(Spec((6, 3, 4), (5, 9, 7), 12), **TINY)
    assert len(model.notes) == 3 and "no label_audio" in model.notes[1]
    shapes = template(model, model.spec.example(2), train=False)["params"]
    assert not [name for name in shapes if name.startswith(("own_head", "pool"))]
    assert IMLCMM(SPEC, **TINY).notes == ()
    only = IMLCMM(SPEC, **{**TINY, "weights": (1.0, 0.0, 0.5, 0.0)})
    names = template(only, SPEC.example(2), train=False)["params"]
    assert [name for name in names if name.startswith("own_")] == ["own_head_audio"]


def test_the_penalty_is_of_all_splines():
    fields = dict(activation=0.1, entropy=0.02)
    total, terms = run("loss_of_mixes", **fields)(BATCH, WHOLE)
    wanted = kan.regularization(parameters()["params"], **fields)
    np.testing.assert_allclose(terms["penalty"], wanted, rtol=1e-5)
    for m in MIXES:  # of whole shares
        np.testing.assert_allclose(terms[f"{m}_mix"], terms[m], rtol=1e-5)
        wanted += terms[m]
    np.testing.assert_allclose(total, weighted(terms) + wanted, rtol=1e-5)


@pytest.mark.parametrize(
    "fields,message",
    [
        (dict(mix_at="feature"), 'mix_at is "feature"; did you mean "features"'),
        (dict(mix_labels="x"), "config.model.mix_labels"),
        (dict(mixed=("audio", "text")), r"mixed has \['text'\]"),
        (dict(grid_size=0), "size >= 1"),
    ],
)
def test_wrong_settings(fields, message):
    with pytest.raises(ValueError, match=message):
        template(IMLCMM(SPEC, **{**TINY, **fields}), BATCH, train=False)


# Recipes ---------------------------------------------------------------------------

CHANGES = {  # what a row must change of the parameters: (absent, present)
    "no_kan": ("project_text/kan", "project_text/linear"),
    "no_ufa": ("own_head_text", "head"),
    "no_ahl": ("ahl", "fusion"),
    "mv": ("own_head_audio", "own_head_vision"),
    "mta": ("own_head_vision", "own_head_text"),
}


ROWS = [n.partition("/")[2] for n in recipe.names() if n.startswith("iml_cmm:simsv2")]


def fields_of(row):
    return dict(recipe.load(f"iml_cmm:simsv2{row and '/'}{row}").model)


@pytest.mark.parametrize("row", ROWS)
def test_rows(row):
    model = fields_of(row)
    weights = dict(zip("mtav", (1.0, 0.2, 0.8, 0.4), strict=True))
    if row and set(row) <= set("mtav"):
        kept = tuple(w if m in row else 0.0 for m, w in weights.items())
        assert model["weights"] == kept
    assert (model.get("mixed") == ("vision",)) == (row == "no_mixup_a")
    assert (model.get("mixed") == ("audio",)) == (row == "no_mixup_v")
    system = IMLCMM(SPEC, **{**model, **small(model)})
    shapes = template(system, BATCH, train=False)
    options = dict(train=True, progress={}, method="loss")
    rngs = {"params": jax.random.key(0)}
    _, terms = jax.eval_shape(
        lambda v, b: system.apply(v, b, rngs=rngs, **options), shapes, BATCH
    )
    mixed = {f"{m}_mix" for m in model.get("mixed", MIXES)}
    tasks = {
        name for name, weight in zip(WEIGHTS, model["weights"], strict=True) if weight
    }
    penalty = {"penalty"} if row == "kan_regularized" else set()
    assert terms.keys() == {"pred", *tasks, *mixed, *penalty}
    names = {
        f"{name}/{part}" for name, parts in shapes["params"].items() for part in parts
    }
    names |= {name.split("/")[0] for name in names}
    if row in CHANGES:
        absent, present = CHANGES[row]
        assert absent not in names and present in names


def small(model):
    """Sizes of a test, but for what a row changes."""
    sizes = {k: v for k, v in TINY.items() if k != "weights"}
    return sizes if model["ahl_layers"] else {**sizes, "ahl_layers": 0}


def test_weights_are_drawn_by_a_number():
    drawn = [fields_of(f"weights_{n}")["weights"] for n in range(100)]
    assert set(np.ravel(drawn)) == {0.2, 0.4, 0.6, 0.8, 1.0}
    assert len(set(drawn)) > 80
    assert drawn[7] == recipe.load("iml_cmm:demo/weights_7").model["weights"]
    with pytest.raises(ValueError, match='unknown row "no_kam"; did you mean "no_kan"'):
        fields_of("no_kam")


@pytest.mark.slow
def test_the_consistency_loss_falls():
    rows = SPEC.example(12, seed=3)
    own = {m: np.tanh(rows[m][:, 0, 0]) for m in MODALITIES}
    rows |= {f"label_{m}": y for m, y in own.items()}
    rows["label"] = sum(own.values()) / np.float32(3)
    model, adam = IMLCMM(SPEC, **TINY), optax.adam(1e-2)

    @jax.jit
    def losses(key, rows):
        params = model.init(key, rows, train=False)

        def step(state, key):
            params, moments = state

            def loss(params):
                options = dict(progress={}, method="loss", rngs={"params": key})
                return model.apply(params, rows, train=True, **options)

            gradient, terms = jax.grad(loss, has_aux=True)(params)
            updates, moments = adam.update(gradient, moments)
            params = optax.apply_updates(params, updates)
            return (params, moments), [terms[f"{m}_mix"] for m in MIXES]

        keys = jax.random.split(key, 80)
        return jax.lax.scan(step, (params, adam.init(params)), keys)[1]

    for figures in losses(random_bits.key(0), rows):
        assert np.mean(figures[-10:]) < 0.7 * np.mean(figures[:5])


@pytest.mark.slow
def test_rows_without_labels_train_from_a_file(tmp_path, quick_random):
    rng = np.random.default_rng(0)
    split = np.array(["train"] * 12 + ["valid"] * 4 + ["test"] * 4)
    labelled = (np.arange(20) % 2 == 0) | (split != "train")
    arrays = {"id": np.arange(20), "split": split, "labelled": labelled}
    for m, length, dim in zip(MODALITIES, SPEC.lengths, SPEC.dims, strict=True):
        arrays[m] = rng.normal(size=(20, length, dim)).astype(np.float32)
    for name in ("label", *LABELS):
        arrays[name] = np.where(labelled, rng.uniform(-1, 1, 20), np.nan)
    np.savez(tmp_path / "clips.npz", **arrays)
    fields = small(fields_of("semi"))
    settings = {f"model.{k}": v for k, v in fields.items()} | {
        **{"data.path": tmp_path / "clips.npz", "data.variant": ""},
        **{"data.dims": "()", "data.lengths": "()", "text.encoder": ""},
        **{"train.epochs": 1, "train.seeds": "1,", "train.batch_size": 6},
        # Less to compile
        **{"parallel.devices": 1, "model.kan": False, "model.mixed": ("audio",)},
    }
    options = [f"--config.{key}={value}" for key, value in settings.items()]
    config = "--config=iml_cmm:simsv2/semi"
    assert main.main([config, f"--workdir={tmp_path / 'run'}", *options]) == 0
    spec = json.loads((tmp_path / "run" / "spec.json").read_text())
    assert "labelled" in spec["fields"]
    found = json.loads((tmp_path / "run" / "results.json").read_text())
    assert np.isfinite(found["test"]["mae"]["values"]).all()
