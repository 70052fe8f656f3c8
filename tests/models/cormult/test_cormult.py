"""CorMulT: its evaluator and its weighting, two phases, and the rows of its tables."""

import csv
import dataclasses
import functools
import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from msajax import main, parallel
from msajax.data import demo, loader
from msajax.data.spec import MODALITIES, Spec
from msajax.models.cormult.perturb import Sequences
from msajax.models.cormult.system import CorMulT
from msajax.models.mult import MulT
from msajax.nn.mult import MultimodalTransformer
from msajax.run import recipe, saved
from msajax.train import feed, step
from msajax.weights import template
from tests import random_bits, toys

SPEC = Spec(dims=(6, 3, 4), lengths=(5, 7, 6), num_train=12)
MULT = dict(dim=4, heads=2, layers=1, remat=False)
TINY = dict(mce_dim=6, mce_heads=2, mce_layers=1, mce_hidden=5, mce_out=3, **MULT)
BATCH = SPEC.example(4, seed=1)
# Text that is words of a vocabulary of seven.
WORDS = dataclasses.replace(
    SPEC,
    dims=(1, *SPEC.dims[1:]),
    fields=tuple("text_ids" if f == "text" else f for f in SPEC.fields),
    vocabulary=9,
)
PAIRS = tuple(itertools.combinations(MODALITIES, 2))


@functools.cache
def ready(spec=SPEC, **fields):
    """A tiny system and random variables, none of them a constant."""
    model = CorMulT(spec, **{**TINY, **fields})
    rng = np.random.default_rng(0)
    made = template(model, spec.example(2), train=False)
    draw = lambda leaf: rng.normal(0, 0.5, leaf.shape).astype(np.float32)  # noqa: E731
    others = {k: v for k, v in made.items() if k != "params"}  # the covariance
    others = jax.tree.map(lambda leaf: np.eye(leaf.shape[0], dtype=np.float32), others)
    return model, {**others, "params": jax.tree.map(draw, made["params"])}


@functools.cache
def forward(method="__call__", spec=SPEC, **fields):
    """(variables, batch) -> outputs in evaluation, jitted."""
    model, _ = ready(spec, **fields)
    return jax.jit(lambda v, b: model.apply(v, b, train=False, method=method))


def evaluate(batch=BATCH, method="__call__", **fields):
    return forward(method, **fields)(ready(**fields)[1], batch)


def coefficients(batch=BATCH, **fields):
    """The coefficient of each pair, without the network that they weigh."""
    found = evaluate(batch, "correlations", **fields)["pred"]
    return dict(zip(PAIRS, np.asarray(found).T, strict=True))


def run(model, variables, *args, **options):
    """What a method returns, compiled."""
    return jax.jit(functools.partial(model.apply, **options))(variables, *args)


def test_negatives_that_are_the_positives_cost_twice_the_margin():
    model, variables = ready()
    same = Sequences(
        {m: BATCH[m] for m in MODALITIES}, {m: BATCH[f"{m}_mask"] for m in MODALITIES}
    )
    loss = jax.jit(
        lambda v, s: model.apply(v, BATCH, s, train=False, method="loss_of_negatives")
    )
    np.testing.assert_allclose(loss(variables, same)[0], 0.4, rtol=1e-5)
    # Another audio changes the two terms that it is the negative of.
    x = {**same.x, "audio": same.x["audio"][::-1]}
    masks = {**same.masks, "audio": same.masks["audio"][::-1]}
    total, terms = loss(variables, Sequences(x, masks))
    moved = {k for k, v in terms.items() if abs(v - 0.2) > 1e-4}
    assert moved == {"text_audio", "vision_audio"}
    np.testing.assert_allclose(total, sum(terms.values()) / 3, rtol=1e-6)


def test_a_row_without_a_modality_has_no_part_in_its_terms():
    mask = BATCH["audio_mask"] & (np.arange(4) > 0)[:, None]
    batch = {**BATCH, "audio_mask": mask}
    negatives = Sequences(
        {m: BATCH[m][::-1] for m in MODALITIES},
        {m: BATCH[f"{m}_mask"] for m in MODALITIES},
    )
    model, variables = ready()
    options = dict(train=False, method="loss_of_negatives")
    terms = jax.jit(lambda b, n: model.apply(variables, b, n, **options)[1])
    few = terms({**BATCH, "valid": np.arange(4) > 0}, negatives)
    found, whole = terms(batch, negatives), terms(BATCH, negatives)
    for name, value in found.items():
        wanted = few if "audio" in name else whole
        np.testing.assert_allclose(value, wanted[name], rtol=1e-5)
    assert coefficients(batch)["text", "audio"][0] == 0


def test_without_correlation_it_is_mult():
    """Residual weighting with Cor = 0, no evaluator at all, and MulT are one computation."""
    _, variables = ready()
    params = dict(variables["params"])
    zero = jax.tree.map(np.zeros_like, params["mce"])
    cut = {**variables, "params": {**params, "mce": zero}}
    found = forward()(cut, BATCH)
    assert all(np.all(found[f"cor_{a}_{b}"] == 0) for a, b in PAIRS)
    plain = forward(correlated=())({"params": {"mult": params["mult"]}}, BATCH)
    mult = MulT(SPEC, **MULT)
    theirs = run(mult, {"params": params["mult"]}, BATCH, train=False)
    for other in (plain, theirs):
        np.testing.assert_allclose(found["pred"], other["pred"], atol=1e-5)
    assert np.abs(evaluate()["pred"] - plain["pred"]).max() > 1e-3


def test_a_coefficient_weighs_both_directions():
    model, variables = ready()
    f = run(
        *(model, variables, BATCH),
        method=lambda m, b: m.mce(m.samples(b), train=False),
    )
    f, cors = jax.tree.map(np.asarray, f), coefficients()
    for a, b in PAIRS:
        x, y = f[a][:, 0], f[b][:, 0]
        cor = np.sum(x * y, 1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
        np.testing.assert_allclose(cors[a, b], cor, atol=1e-5)
    network = MultimodalTransformer.of(model, 1)
    samples = model.apply(variables, BATCH, method="samples")
    params = {"params": variables["params"]["mult"]}
    weighted = jax.jit(
        lambda scales: network.apply(params, *samples, scales=scales, train=False)
    )
    for weighting, fields in (
        ("residual", {}),
        ("multiply", {"weighting": "multiply"}),
    ):
        out = evaluate(**fields)
        scales = {pair: cor + (weighting == "residual") for pair, cor in cors.items()}
        scales |= {(b, a): scale for (a, b), scale in scales.items()}
        wanted = weighted(scales)["out"][:, 0]
        np.testing.assert_allclose(out["pred"], wanted, atol=1e-5)
        columns = model.reports["correlations"]
        for pair, name in zip(PAIRS, columns, strict=True):
            assert name == "cor_" + "_".join(pair)
            np.testing.assert_allclose(out[name], cors[pair], atol=1e-6)


def test_the_map_over_time_takes_real_steps_alone():
    fields, pair = dict(mce_steps=4, mce_encoder="paper"), ("text", "vision")
    cors = coefficients(**fields)[pair]
    noise = {**BATCH, "vision": BATCH["vision"] + ~BATCH["vision_mask"][..., None] * 9}
    np.testing.assert_allclose(coefficients(noise, **fields)[pair], cors, atol=1e-5)
    short = {k: v[:, :-1] if k.startswith("vision") else v for k, v in BATCH.items()}
    rows = ~BATCH["vision_mask"][:, -1]
    assert rows.any()
    found = coefficients(short, **fields)[pair]
    np.testing.assert_allclose(found[rows], cors[rows], atol=1e-5)
    assert np.abs(cors - coefficients()[pair]).max() > 1e-3


def test_a_pair_that_is_not_there_has_no_coefficient():
    batch = {**BATCH, "audio_mask": np.zeros_like(BATCH["audio_mask"])}
    for fields in ({}, {"distance": "euclidean"}):
        found = coefficients(batch, **fields)
        assert not found["text", "audio"].any() and not found["audio", "vision"].any()
        assert found["text", "vision"].all()


def test_levels_by_hand():
    model, variables = ready(levels=7, correlated=())
    label = np.array([-3.0, 0.4, 1.6, 9.0], np.float32)

    @jax.jit
    def both(batch):
        options = dict(train=False, progress={}, method="loss")
        out = model.apply(variables, batch, train=False)["out"]
        return model.apply(variables, batch, **options), out

    (loss, terms), logits = both({**BATCH, "label": label})
    wanted = optax.softmax_cross_entropy_with_integer_labels(
        logits, np.array([0, 3, 5, 6])
    )
    np.testing.assert_allclose(loss, wanted.mean(), rtol=1e-5)
    np.testing.assert_array_equal(terms["pred"], np.argmax(logits, 1) - 3.0)


def test_foreign_modalities_count_with_both_labels():
    still = {k: 0.0 for k in CorMulT.__dataclass_fields__ if k.endswith("dropout")}
    still["attention_dropouts"] = (0.0, 0.0, 0.0)
    model, variables = ready(foreign=1.0, correlated=(), **still)
    rngs = {"params": random_bits.key(3)}
    options = dict(train=True, progress={}, method="loss", rngs=rngs)
    loss_of = jax.jit(functools.partial(model.apply, **options))
    exchanged = jax.jit(
        lambda b: model.apply(
            variables, model.samples(b), b, method="_with_foreign", rngs=rngs
        )
    )
    loss, terms = loss_of(variables, BATCH)
    labels = BATCH["label"]
    samples, others = exchanged(BATCH)
    assert np.any(others != labels)
    for row, other in enumerate(others):
        (donor,) = np.flatnonzero(labels == other)
        changed = [m for m in MODALITIES if np.any(samples.x[m][row] != BATCH[m][row])]
        assert len(changed) == (donor != row)
        for m in changed:
            np.testing.assert_array_equal(samples.x[m][row], BATCH[m][donor])
    errors = [np.mean((terms["pred"] - y) ** 2) for y in (labels, others)]
    np.testing.assert_allclose(loss, np.mean(errors), rtol=1e-5)
    # Nor is a row without a label anybody's partner.
    _, others = exchanged({**BATCH, "labelled": np.arange(4) < 1})
    assert all(y in (own, labels[0]) for y, own in zip(others, labels, strict=True))
    loss, terms = loss_of(variables, {**BATCH, "valid": np.arange(4) < 1})
    np.testing.assert_allclose(loss, (terms["pred"][0] - labels[0]) ** 2, rtol=1e-5)


def test_the_evaluator_has_no_dropout_where_it_weighs():
    model, variables = ready(mce_dropout=0.5)
    rngs = {"dropout": random_bits.key(1)}
    out = run(model, variables, BATCH, train=True, rngs=rngs)
    for (a, b), cor in coefficients().items():
        np.testing.assert_allclose(out[f"cor_{a}_{b}"], cor, atol=1e-6)


@pytest.mark.parametrize(
    "fields,message",
    [
        (dict(strategy="E"), "config.model.strategy"),
        (dict(distance="cosin"), 'did you mean "cosine"'),
        (dict(weighting="times"), "config.model.weighting"),
        (dict(mce_encoder="pre_ln"), "config.model.mce_encoder"),
        (dict(correlated=("text", "video")), 'correlated has "video"'),
        (dict(levels=1), "config.model.levels is 1"),
        (dict(shift=(1, -1, 0)), "config.model.shift"),
    ],
)
def test_settings_that_make_no_sense(fields, message):
    with pytest.raises(ValueError, match=message):
        template(CorMulT(SPEC, **fields), BATCH, train=False)


def correlated_batch(seed, rows):
    """Three modalities that show the same three numbers, through mixtures and noise."""
    mixtures = np.random.default_rng(5)
    rng = np.random.default_rng(seed)
    hidden, batch = rng.normal(size=(rows, 1, 3)), SPEC.example(rows)
    for m in MODALITIES:
        values = hidden @ mixtures.normal(size=(3, batch[m].shape[-1]))
        values = values + rng.normal(0, 0.1, batch[m].shape)
        batch[f"{m}_mask"][:] = True
        batch[m] = values.astype(np.float32)
    return batch


@pytest.mark.slow
def test_coefficients_separate_matched_from_mismatched_pairs():
    fields = dict(mce_dim=16, mce_layers=1, mce_hidden=16, mce_out=8, mce_dropout=0.0)
    model = CorMulT(SPEC, **{**TINY, **fields}, strategy="A")
    batch = jax.tree.map(jnp.asarray, correlated_batch(1, 48))
    unseen = correlated_batch(2, 100)
    init = functools.partial(model.init, train=False, method="correlations")
    variables = jax.jit(init)(jax.random.key(0), batch)
    transform = optax.adam(1e-2)

    def loss(params, key):
        options = dict(train=True, progress={}, method="mce_loss")
        return model.apply({"params": params}, batch, **options, rngs={"params": key})[
            0
        ]

    def update(carry, key):
        value, grads = jax.value_and_grad(loss)(carry[0], key)
        updates, state = transform.update(grads, carry[1])
        return (optax.apply_updates(carry[0], updates), state), value

    @jax.jit
    def train(params):
        keys = jax.random.split(jax.random.key(1), 60)
        return jax.lax.scan(update, (params, transform.init(params)), keys)

    (params, _), values = train(variables["params"])
    assert values[-10:].mean() < values[:10].mean() - 0.05
    predict = jax.jit(
        lambda b: model.apply({"params": params}, b, train=False, method="correlations")
    )
    matched = np.asarray(predict(unseen)["pred"])
    rolled = {**unseen, "audio": np.roll(unseen["audio"], 1, axis=0)}
    mismatched = np.asarray(predict(rolled)["pred"])
    for pair in (0, 2):  # text and audio, audio and vision
        auc = np.mean(matched[:, pair, None] > mismatched[None, :, pair])
        assert auc > 0.9
    np.testing.assert_allclose(matched[:, 1], mismatched[:, 1], atol=1e-6)


@pytest.mark.slow
def test_negatives_do_not_depend_on_the_number_of_devices():
    model, variables = ready(distance="mahalanobis", mce_dropout=0.0)
    batch = {**SPEC.example(8, seed=2), "valid": np.arange(8) < 7}

    def gradient(variables, batch):
        def loss(params):
            (value, _), state = model.apply(
                {**variables, "params": params},
                batch,
                train=True,
                progress={},
                method="mce_loss",
                rngs={"params": random_bits.key(0)},
                mutable=["statistics"],
            )
            return value, state

        (value, state), grads = jax.value_and_grad(loss, has_aux=True)(
            variables["params"]
        )
        return value, state, parallel.mean(grads)

    found = []
    for count in (1, 2):
        devices = parallel.find_devices(count)
        run = parallel.compile(gradient, devices, in_axes=(None, 0))
        shards = {k: v.reshape(count, -1, *v.shape[1:]) for k, v in batch.items()}
        found.append(jax.device_get(run(variables, shards)))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-4), *found
    )
    assert (
        np.abs(found[0][1]["statistics"]["mce"]["covariance"] - np.eye(3)).max() > 0.01
    )


# Two phases --------------------------------------------------------------------


ROWS = 8, 4, 4


def fit(folder, row="", phases=slice(None), more=None, **options):
    """(book, best) of an epoch of each phase of a row; `more` are rows that its first phase trains on."""
    chosen = recipe.load(f"cormult:mosei{row and '/'}{row}")
    spec = WORDS if chosen.text.vocabulary else SPEC
    model = CorMulT(spec, **{**chosen.model, **TINY})
    made = [
        dataclasses.replace(phase, epochs=1, batch_size=4)
        for phase in chosen.plan[phases]
    ]
    devices = parallel.find_devices(1)
    given = toys.examples(spec, ROWS, seed=10)
    data = toys.on_devices(devices, spec=spec, given=given)
    if more is not None:
        made[0] = dataclasses.replace(made[0], data="more.npz")
        parts = loader.parts(more, 1)
        data.phases["more.npz"] = feed.source(parts, devices, resident=True)
    ((book, best),) = toys.train(model, made, data, {1: folder}, **options)
    return model, book, best


EMBEDDED = {"mce/network_text/embed/embedding", "mult/words/embedding"}


def seen(batch):
    """The words that a batch shows."""
    words = np.unique(batch["text_ids"][batch["text_mask"]])
    assert words[0] == 1 and len(words) > 5
    return words


@pytest.mark.slow
def test_the_papers_row_learns_words_of_its_own():
    options = recipe.load("cormult:mosei/paper")
    model = CorMulT(WORDS, **{**options.model, **TINY})
    state = step.init(model, random_bits.key(1))
    assert {k for k in state.params if k.endswith("embedding")} == EMBEDDED
    assert not {k for k in state.params if "proj1" in k or "proj2" in k}
    assert not state.params["mce/network_text/embed/embedding"][:2].any()
    batch = jax.tree.map(jnp.asarray, WORDS.example(8, seed=10))

    @jax.jit
    @jax.grad
    def gradients(params):
        variables = step.variables(state._replace(params=params))
        rngs = {"params": random_bits.key(0)}
        options = dict(train=True, progress={}, rngs=rngs, method="mce_loss")
        return model.apply(variables, batch, **options)[0]

    found = gradients(state.params)
    moved = {path for path, x in found.items() if np.abs(x).max() > 0}
    assert moved == {path for path in state.params if path.startswith("mce/")}
    # Padding's vector stays; the unknown words' is learned.
    table = np.asarray(found["mce/network_text/embed/embedding"])
    assert not table[0].any() and table[seen(batch)].any(axis=1).all()


def test_the_evaluators_loss_reads_no_labels():
    model, variables = ready()
    batch = {k: v for k, v in BATCH.items() if not k.startswith("label")}
    rngs = {"params": jax.random.key(0)}
    options = dict(train=True, progress={}, rngs=rngs, method="mce_loss")
    jax.eval_shape(functools.partial(model.apply, **options), variables, batch)


@pytest.mark.slow
@pytest.mark.parametrize("row", ["paper", "mahalanobis"])
def test_an_epoch_of_rows_with_other_evaluators(row, tmp_path):
    model, book, best = fit(tmp_path / "whole", row)
    assert [h["phase"] for h in book.history] == ["mce", "fuse"]
    for history in book.history:
        assert np.isfinite([v for k, v in history.items() if "loss" in k]).all()
    before = step.init(model, jax.random.key(1))
    embedded = {k for k in before.params if k.endswith("embedding")}
    if row == "paper":
        assert embedded == EMBEDDED
        assert not {k for k in before.params if "proj1" in k or "proj2" in k}
        arrays = toys.examples(WORDS, ROWS, seed=10).splits["train"].arrays
        for path in embedded:  # padding's vector stays; the unknown words' is learned
            table, first = best.params[path], before.params[path]
            assert not first[:2].any() and not table[0].any()
            assert (table != first)[seen(arrays)].any(axis=1).all()
    moved = {k for k, x in best.params.items() if np.any(x != before.params[k])}
    assert {path.split("/")[0] for path in moved} == {"mce", "mult"}
    statistics = {"statistics/mce/covariance"} if row == "mahalanobis" else set()
    assert best.collections.keys() == statistics
    for path, x in best.collections.items():
        assert np.any(x != before.collections[path])
    # The second phase leaves the evaluator as the first one made it.
    first = fit(tmp_path / "first", row, phases=slice(1))[2]
    for path, x in (first.params | first.collections).items():
        same = np.array_equal(x, (best.params | best.collections)[path])
        assert same == (not path.startswith("mult/")), path


@pytest.mark.slow
def test_its_phase_may_have_rows_of_its_own_without_labels(tmp_path, monkeypatch):
    monkeypatch.setattr(feed, "_STEPS", 1)
    more = SPEC.example(13, seed=30)
    more = {k: v for k, v in more.items() if k not in ("index", "valid", "label")}
    options = dict(phases=slice(1), more=more)
    _, book, best = fit(tmp_path / "whole", **options)
    assert book.history[0]["phase"] == "mce" and len(book.history) == 1
    _, part, _ = fit(tmp_path / "part", stop_after=3, **options)
    assert part.step == 3 and not part.finished  # of 4: 13 rows, 4 in a batch
    _, again, resumed = fit(tmp_path / "part", **options)
    assert again.history == book.history
    jax.tree.map(np.testing.assert_array_equal, resumed, best)


def write(path, split, **arrays):
    found = {m: split.arrays[m] for m in MODALITIES}
    given = {"id": split.ids, "raw_text": split.raw_text, **found, **arrays}
    np.savez(path, **given)


FUSE = dict(name="fuse", train="mult/.*", epochs=1, batch_size=200)
MCE = dict(name="mce", loss="mce_loss", predict="mce_pred", train="mce/.*", epochs=1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "row,phase,correlated",
    [
        # A step without length: its coefficients are the evaluator's that it starts from.
        (
            "mce",
            MCE | dict(batch_size=200, optimizer=dict(learning_rate=0.0)),
            ("text", "audio"),
        ),
        pytest.param("fuse", FUSE, MODALITIES, marks=pytest.mark.slow),
    ],
)
def test_main_pretrains_on_other_rows_and_another_run_takes_the_evaluator(
    tmp_path, capsys, quick_random, row, phase, correlated
):
    """Also the way of a vocabulary: into the workdirs, to other rows, to another run."""
    corpus = demo.generate(3, num=(40, 4, 20))
    write(tmp_path / "more.npz", corpus.splits["train"])
    clips = corpus.splits["test"]
    texts = np.char.add(clips.raw_text, " zebra")  # a word that no run has seen
    write(tmp_path / "clips.npz", clips, raw_text=texts)
    model = [
        "--config.text.vocabulary=True",
        *("--config.train.seeds=1", "--config.parallel.devices=1"),
        *(f"--config.model.{k}={v}" for k, v in TINY.items() if "mce" in k),
        *(f"--config.model.{k}={v}" for k, v in MULT.items() if k != "heads"),
        f"--config.model.correlated={correlated}",
    ]
    first = MCE | dict(batch_size=8, data=str(tmp_path / "more.npz"))

    def run(name, row, *args):
        chosen = ["--config", f"cormult:demo/{row}"] if row else []
        return main.main([*chosen, "--workdir", str(tmp_path / name), *model, *args])

    assert run("mce", "mce", f"--config.phases=({first},)") == 0
    spec = json.loads((tmp_path / "mce" / "spec.json").read_text())
    assert list(spec["phase_data"]) == ["phase mce"]
    args = [f"--config.phases=({phase},)", f"--config.init_from={tmp_path / 'mce'}"]
    assert run("none", row, args[0], "--config.init_from=nowhere") == 1
    assert "init_from: nowhere is not the folder of a run" in capsys.readouterr().err
    assert run("next", row, *args, "--config.train.seeds=2") == 1
    assert "has no seed_2, only seed_1; to start" in capsys.readouterr().err
    other = ["--config", "lf_dnn:demo", "--workdir", str(tmp_path / "other"), args[1]]
    assert main.main(other) == 1
    assert "no array of it has a name of this recipe" in capsys.readouterr().err
    assert run("next", row, *args) == 0
    scores = [
        ["--mode", "predict", "--data", str(tmp_path / "clips.npz")],
        ["--output", str(tmp_path / "scores.csv")],
    ]
    found = {}
    for name in ("mce", "next"):
        command = ["--workdir", str(tmp_path / name), *itertools.chain(*scores)]
        assert main.main(command) == 0
        with open(tmp_path / "scores.csv", encoding="utf-8") as file:
            found[name] = list(csv.DictReader(file))
    lists = [(tmp_path / name / "vocabulary.txt").read_text() for name in found]
    assert lists[0] == lists[1] and "zebra" not in lists[0].split()
    train = demo.generate(0).splits["train"].raw_text
    assert lists[0].split("\n")[0] in " ".join(train).split()
    (tmp_path / "next" / "vocabulary.txt").unlink()
    capsys.readouterr()
    assert main.main(["--workdir", str(tmp_path / "next"), "--mode", "evaluate"]) == 1
    assert "lacks the vocabulary.txt" in capsys.readouterr().err
    columns = [f"cor_{a}_{b}" for a, b in itertools.combinations(correlated, 2)]
    for mce, other in zip(found["mce"], found["next"], strict=True):
        for name in columns:
            assert abs(float(mce[name]) - float(other[name])) < 1e-5
        mean = np.mean([float(mce[name]) for name in columns])
        assert abs(float(mce["score"]) - mean) < 1e-5
    assert len({line[columns[0]] for line in found["next"]}) > 10


def test_a_loss_that_reads_labels_trains_on_no_data_of_a_phase(tmp_path, capsys):
    corpus = demo.generate(3, num=(40, 4, 20))
    write(tmp_path / "more.npz", corpus.splits["train"])
    phase = dict(name="fuse", epochs=1, data=str(tmp_path / "more.npz"))
    command = ["--config", "lf_dnn:demo", "--workdir", str(tmp_path / "run")]
    assert main.main([*command, f"--config.phases=({phase},)"]) == 1
    assert "whose labels are not read, but its loss loss takes 'label'" in (
        capsys.readouterr().err
    )
    assert not (tmp_path / "run" / "config.json").exists()


def test_rows_are_named():
    with pytest.raises(ValueError, match='did you mean "mahalanobis"'):
        recipe.load("cormult:simsv2/mahalanobi")
    options = recipe.load("cormult:simsv2/t64_o200")
    assert (options.model["mce_steps"], options.model["mce_out"]) == (64, 200)
    assert recipe.load("cormult:simsv2/features_mel").data.variant == "mel"
    paper = recipe.load("cormult:simsv2/paper")
    assert paper.text.vocabulary and paper.data.split == (0.7, 0.15, 0.15)
    both = recipe.load("cormult:simsv2/paper+strategy_a")
    assert saved.differences(both, paper) == ["model.strategy: 'D' -> 'A'"]
    alone = recipe.load("cormult:simsv2/mce+paper+t8_o9")
    assert [phase.name for phase in alone.plan] == ["mce"]
    assert (alone.model["mce_steps"], alone.model["mce_out"]) == (8, 9)
    with pytest.raises(ValueError, match="tfn learns no embedding of words"):
        recipe.load("tfn:mosei", [("text.vocabulary", "True")])
    with pytest.raises(ValueError, match="are both set; leave one out"):
        recipe.change(both, {"text.encoder": "some"})
