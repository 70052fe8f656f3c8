"""UniMSE: what is written and read back, its loss, adapters and labels of several data sets."""

import dataclasses
import functools
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from msajax import losses
from msajax.data.spec import IGNORED, MODALITIES, Corpus, Split, Written
from msajax.encoders.lora import Lora, is_adapter
from msajax.encoders.read_back import read_back
from msajax.encoders.t5 import T5Config
from msajax.encoders.t5_writer import shift
from msajax.models.unimse import adapters, system
from msajax.run import recipe, universal
from msajax.train import step
from tests import random_bits
from tests.models import test_registry

# "polarity , score": a separator of two pieces, scores of one to three, the end 1.
WRITTEN = Written(
    length=9,
    separator=(8, 9),
    end=1,
    place=1,
    answers=((3,), (3, 4), (8, 3, 4)),
    values=(-1.5, 0.5, 2.0),
    fallback=0.0,
)
TEXTS = {
    (5, 8, 9, 3, 1): -1.5,
    (5, 8, 9, 3, 4, 8, 9, 7, 1): 0.5,  # another field behind it
    (
        8,
        9,
        8,
        3,
        4,
        1,
    ): 2.0,  # an empty field before it; the answer begins as a separator
    (5, 8, 9, 3, 4, 4, 1): None,  # longer than an answer
    (5, 8, 9, 4, 1): None,
    (5, 8, 9, 1): None,
    (3, 1): None,  # no separator
    (3, 4, 1, 0, 0): None,
    (5, 1, 8, 9, 3, 1): None,  # behind the end
    (5, 8, 9, 3): None,  # padding is no end
    (5, 8, 9, 0, 0, 0, 0, 0, 3): None,  # cut off in the field
    (5, 7, 7, 7, 7, 7, 7, 8, 9): None,
}


def ids_of(texts, length=9):
    rows = [[*text, *[0] * (length - len(text))] for text in texts]
    return jnp.asarray(rows, jnp.int32)


def test_labels_are_read_back_or_said_to_be_none():
    chosen, known = jax.jit(read_back, static_argnums=1)(ids_of(TEXTS), WRITTEN)
    values = np.asarray(WRITTEN.values)[chosen]
    found = [x if ok else None for x, ok in zip(values.tolist(), known, strict=True)]
    assert dict(zip(TEXTS, found, strict=True)) == TEXTS


def test_the_first_field_is_read_too():
    first = dataclasses.replace(WRITTEN, place=0, answers=((5,), (3, 4)), values=(0, 1))
    chosen, known = jax.jit(read_back, static_argnums=1)(
        ids_of([(3, 4, 8, 9, 7, 1), (5, 1), (7, 8, 9, 5, 1), (3, 8, 9, 1)]), first
    )
    assert known.tolist() == [True, True, False, False]
    assert chosen[:2].tolist() == [1, 0]


def test_what_is_no_label_is_a_substitute_and_counted():
    """As classes: the fallback's, with `unread` 1."""
    view = test_registry.UTTERANCES
    written = dataclasses.replace(test_registry.WRITTEN, fallback=2.0)
    spec = dataclasses.replace(view.classes, written=written)
    model = test_registry.build("unimse", spec)
    chosen, known = jnp.array([1, 1, 0]), jnp.array([True, False, True])
    labels = model._labels(chosen, known)
    np.testing.assert_array_equal(labels, [[0, 1, 0], [0, 0, 1], [1, 0, 0]])
    numbers = test_registry.build(
        "unimse", dataclasses.replace(view.spec, written=written)
    )
    np.testing.assert_array_equal(numbers._labels(chosen, known), [1.0, 2.0, 0.0])


def test_the_loss_is_over_the_pieces_of_all_texts_and_ignores_padding():
    """The mean over pieces, of texts and signals padded in two ways; with the contrast in training."""
    name, view = "unimse", test_registry.UTTERANCES
    model = test_registry.build(name, **test_registry.without_dropout(name))
    rng = np.random.default_rng(0)
    state = test_registry.initial(name)
    params = {
        k: (x + 0.3 * rng.normal(size=x.shape)).astype(np.float32)
        for k, x in state.params.items()
    }
    variables = step.variables(step.State(params, {}, {}))
    batch = view.short.example(test_registry.ROWS, seed=1)
    batch["valid"] = np.arange(test_registry.ROWS) < 7

    def both(model, batch):
        states = {m: x[1] for m, x in model._read(batch, False).items()}
        return *model.loss(batch, train=True, progress={}), states

    compute = jax.jit(functools.partial(model.apply, method=both))
    total, terms, states = compute(variables, batch)
    np.testing.assert_allclose(
        total, terms["text"] + 0.5 * terms["contrast"], rtol=1e-5
    )
    # The registry's tests compile the loss of longer texts and signals.
    extra = {
        k: [(0, b - a) for a, b in zip(x.shape, view.batch[k].shape, strict=True)]
        for k, x in batch.items()
    }
    assert all(extra[f"{m}_mask"] == [(0, 0), (0, 3)] for m in MODALITIES)
    longer = {k: np.pad(x, extra[k]) for k, x in batch.items()}
    _, found = test_registry.training(name)(params, {}, longer, np.int32(1))
    np.testing.assert_allclose(found["loss"][0], total, rtol=1e-5)
    for m, x in states.items():
        assert not np.asarray(x)[~batch[f"{m}_mask"]].any()
    # Of rows that only fill up nothing counts.
    other = {k: x.copy() for k, x in batch.items()}
    other["label_ids"][7:] = 1
    found = compute(variables, other)[0]
    np.testing.assert_allclose(found, total, rtol=1e-6)


def test_the_temperature_divides_the_cosines():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 5, 3)).astype(np.float32)
    compare = functools.partial(losses.info_nce, temperature=0.1)
    found = jax.jit(compare)(x, y, y, where=np.ones(5, bool))
    a, b = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (x, y))
    scores = 10 * a @ b.T
    wanted = np.log(np.exp(scores).sum(axis=1)) - np.diag(scores)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_an_adapter_passes_the_text_at_first():
    """One that attends reads the same in whole texts as in single pieces, of real steps alone."""
    rng = np.random.default_rng(0)
    h, read = rng.normal(size=(2, 2, 3, 6)).astype(np.float32)
    vectors = [np.ones((2, 2), np.float32), -np.ones((2, 3), np.float32)]
    x, y = rng.normal(size=(2, 2, 5, 4)).astype(np.float32)
    real = np.arange(5) < np.array([5, 2])[:, None]
    steps = [(x, real), (y, ~real | real)]
    noisy = np.pad(np.where(real[..., None], x, 7), [(0, 0), (0, 2), (0, 0)])
    padded = [(noisy, np.pad(real, [(0, 0), (0, 2)])), steps[1]]

    @jax.jit
    def draw(key):
        made = {}
        for identity in (True, False):
            adapter = adapters.Adapter(4, identity)
            made["ffn", identity], _ = adapter.init_with_output(
                key, h, read, vectors=vectors
            )
            adapter = adapters.CrossAdapter(4, 2, 1, identity)
            made["cross", identity], variables = adapter.init_with_output(
                key, h, read, steps=steps, length=3
            )
        piece = adapter.apply(
            variables, h[:, 2:], read, steps=padded, length=7, place=2
        )
        return made, piece

    made, piece = draw(random_bits.key(0))
    for (_, identity), found in made.items():
        if identity:
            np.testing.assert_allclose(found, h, atol=0.02)
        else:
            assert np.abs(found - h).max() > 0.3
    np.testing.assert_allclose(piece, made["cross", False][:, 2:], atol=1e-5)


LORA = Lora(2, 4.0)
FORMS = {
    "parallel": dict(adapter_name="parallel", lora=LORA),
    "cross_attention": dict(adapter_name="cross_attention", cross_layers=1),
}


def test_the_form_is_that_of_the_recipe():
    fields = recipe.load("unimse:demo/cross_attention").model
    fields = {"adapter_name": fields["adapter_name"], "cross_layers": 1}
    model = test_registry.build("unimse", **fields, lora=LORA)
    shapes = step.shapes(model).params
    model.lora.check(shapes)
    layers = ("encoder/layer/0/attention", "decoder/layer/0/attention")
    layers += ("decoder/layer/0/cross_attention",)
    adapted = {f"encoder/{x}/{q}/lora_{a}" for x in layers for q in "qv" for a in "ab"}
    assert {k for k in shapes if is_adapter(k) and "/layer/0/" in k} == adapted
    own = {k.split("/")[1] for k in shapes if k.startswith("adapter_")}
    reads = {"signal_0", "signal_1", "reader_0_0", "reader_1_0"}
    assert own == {"text", "out"} | reads


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_each_form_writes_as_it_reads(form):
    """Piece by piece the decoder gives what it gives of the whole text; every parameter has a gradient."""
    view = test_registry.UTTERANCES
    fields = {**test_registry.without_dropout("unimse"), **FORMS[form]}
    model = test_registry.build("unimse", **fields)
    rng = np.random.default_rng(0)
    params = {
        k: rng.normal(k.endswith("scale"), 0.5, x.shape).astype(np.float32)
        for k, x in step.shapes(model).params.items()
    }
    ids = rng.integers(0, 3, (test_registry.ROWS, 4)).astype(np.int32)

    def along(module, step, caches, *, config):
        """In place of `greedy`: the logits of known pieces."""
        found = []
        for i, token in enumerate(shift(ids, config).T):
            logits, caches = step(module, token, jnp.int32(i), caches)
            found.append(logits)
        return jnp.stack(found, axis=1)

    def logits(model, batch):
        read = model._read(batch, False)
        source = model._encode(batch, read, False)[-1]
        with mock.patch.object(system, "greedy", along):
            written = model._write(source, read, batch)
        return written, model._decode(ids, source, read, batch, False).logits

    def loss(params, batch):
        variables = step.variables(step.State(params, {}, {}))
        total, _ = model.apply(variables, batch, train=True, progress={}, method="loss")
        return total, model.apply(variables, batch, method=logits)

    compute = jax.jit(jax.grad(loss, has_aux=True))
    grads, (written, whole) = jax.device_get(compute(params, view.filled))
    np.testing.assert_allclose(written, whole, rtol=1e-4, atol=1e-4)
    assert np.ptp(whole, axis=1).max() > 0.1
    for path, x in grads.items():
        assert np.any(x), path
    if model.lora:  # once each: merged they compute the same
        merged, plain = LORA.merge(params), model.clone(lora=None)
        variables = step.variables(step.State(merged, {}, {}))
        found = jax.jit(functools.partial(plain.apply, method=logits))
        np.testing.assert_allclose(found(variables, view.filled)[1], whole, atol=1e-4)


def test_a_spec_without_texts_of_labels_is_refused():
    spec = dataclasses.replace(test_registry.UTTERANCES.spec, written=None)
    with pytest.raises(ValueError, match="the spec does not say how"):
        _ = test_registry.build("unimse", spec).written


# Rows of several data sets -----------------------------------------------------------


def corpus(dataset, labels, texts, **arrays):
    """The same rows in each split."""
    rows = len(labels)
    kind = np.int32 if dataset == "meld" else np.float32
    arrays |= {"label": np.array(labels, kind)}
    arrays |= {k: np.ones((rows, 4), np.int32) for k in ("text_ids", "text_type")}
    arrays["text_mask"] = np.ones((rows, 4), bool)
    splits = {
        name: Split(
            np.array([f"{name}_{i}" for i in range(rows)]),
            np.array(texts),
            dict(arrays),
        )
        for name in ("train", "valid", "test")
    }
    return Corpus(dataset, splits, sha256=dataset)


def pieces(options, folder, fields):
    """A piece for each value, and 1 as the end."""
    words = [",", *(value for values in fields.values() for value in values)]
    return {w: (2 + i,) for i, w in enumerate(dict.fromkeys(words))}, 1


def test_rows_of_two_data_sets_train_under_one_label(tmp_path, monkeypatch):
    monkeypatch.setattr(universal, "_pieces", pieces)
    changes = {"data.also": ("meld=FOLDER",), "text.encoder": "t5-small"}
    options = recipe.change(recipe.load("unimse:mosi"), changes)
    audio = np.ones((2, 3, 5), np.float32)
    masks = {"audio_mask": np.ones((2, 3), bool)}
    mosi = corpus(
        "mosi", [2.44, -0.6], ["so much fun", "sad and dull"], audio=audio, **masks
    )
    meld = corpus(
        "meld",
        [3, 4, 1, 0],
        ["how sad is that", "what fun", "fun! really? fun?", "the table"],
        audio=np.full((4, 2, 7), 3, np.float32),
        audio_mask=np.ones((4, 2), bool),
        dialogue=np.zeros(4, np.int32),
    )
    made, hashes = universal.join(options, tmp_path, mosi, lambda *_: meld)
    assert hashes == {"FOLDER": "meld"} and universal.written_by(options)
    table, _ = pieces(None, None, universal.universal.fields(["mosi", "meld"]))
    words = {ids: word for word, (ids,) in table.items()} | {1: ""}

    def read(split):
        rows = made.splits[split].arrays["label_ids"]
        return [" ".join(words[i] for i in row if i != IGNORED).strip() for row in rows]

    assert read("valid") == ["positive , 2.4 , joy", "negative , -0.6 , sadness"]
    assert read("train") == [
        *read("valid"),
        "negative , -0.6 , sadness",
        "positive , 2.4 , joy",
        "positive , 2.4 , surprise",  # of either polarity: that of the similar text
        "neutral , 2.4 , neutral",  # no text of MOSI is neutral: the first
    ]
    train = made.splits["train"].arrays
    assert train["labelled"].tolist() == [True] * 2 + [False] * 4
    assert train["audio"].shape == (6, 3, 5) and "dialogue" not in train
    assert train["audio_mask"].sum(axis=1).tolist() == [3, 3, 2, 2, 2, 2]
    assert "label_ids" not in made.splits["test"].arrays
    note = "training rows: 2 of mosi, 4 of meld; 7 values are those of the most similar"
    assert note in made.notes[-1]
    written = made.written
    assert written is not None and written.length == 6 and written.place == 1
    # What is written is read back.
    ids = np.where(train["label_ids"] == IGNORED, 0, train["label_ids"])
    chosen, known = jax.jit(read_back, static_argnums=1)(ids, written)
    assert known.all()
    values = np.asarray(written.values)[chosen]
    np.testing.assert_allclose(values, [2.4, -0.6, -0.6, 2.4, 2.4, 2.4])


def test_pieces_that_cannot_be_told_apart_are_refused(tmp_path, monkeypatch):
    from msajax.encoders import tokenize

    def word_pieces(corpus, *_, **__):
        rows = len(corpus.splits["train"])
        ids = np.tile(np.int32([2, 1]), (rows, 1))  # all unknown
        arrays = {"text_ids": ids, "text_mask": ids > 0}
        split = dataclasses.replace(corpus.splits["train"], arrays=arrays)
        return Corpus(corpus.dataset, {"train": split})

    monkeypatch.setattr(tokenize, "word_pieces", word_pieces)
    monkeypatch.setattr(universal.text, "find", lambda *_: tmp_path)
    monkeypatch.setattr(universal.text, "encoder_of", lambda *_: T5Config())
    monkeypatch.setattr(universal.encoders, "tokenizer_facts", lambda _: {})
    options = recipe.load("unimse:mosi")
    with pytest.raises(ValueError, match="no word pieces of its own for ',' and 'neg"):
        universal.answers(options, tmp_path)


@pytest.mark.parametrize(
    "name,key,value,message",
    [
        ("mult:mosi", "data.also", ("meld",), "mult learns the labels of one data set"),
        ("unimse:mosi", "data.also", ("mood=x",), '"mood"; did you mean|"mood".*Known'),
        ("unimse:mosi", "data.also", ("mosi=x",), '"mosi" twice'),
        ("unimse:demo", "data.unlabelled", "x.npz", "learns from labels alone"),
    ],
)
def test_wrong_data_sets_beside_the_own_are_refused(name, key, value, message):
    with pytest.raises(ValueError, match=message):
        recipe.change(recipe.load(name), {key: value})


def test_scores_of_several_ranges_are_refused():
    with pytest.raises(ValueError, match="have several ranges"):
        universal.universal.fields(["mosi", "sims"])
