import functools

import flax.linen as nn
import jax
import numpy as np
import pytest

from msajax.data.spec import Spec
from msajax.models.cm_bert import CMBert, CrossModalAttention
from msajax.weights import cm_bert, template
from tests import toys

SPEC = Spec(dims=(6, 3, 1), lengths=(4, 4, 1), num_train=6)


@functools.cache
def made(**options):
    """(random variables, jitted outputs) of a small CM-BERT on text features."""
    model = CMBert(SPEC, dim=5, **options)
    rng = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda leaf: rng.normal(0, 1, leaf.shape).astype(np.float32),
        template(model, SPEC.example(2), train=False),
    )
    return variables, jax.jit(lambda v, b: model.apply(v, b, train=False))


def example():
    batch = SPEC.example(3)
    for name in ("text", "audio"):
        batch[f"{name}_mask"] = np.arange(4) < np.array([4, 3, 2])[:, None]
        batch[name] = np.ones_like(batch[name]) * batch[f"{name}_mask"][..., None]
        batch[name] += SPEC.example(3, seed=1)[name]
    return batch


def relu_products(x):
    return np.maximum(x @ x.T, 0)


def test_attention_adds_up_rectified_products():
    """Of each sample's real steps, whose norm scales the text."""
    batch, (variables, call) = example(), made(cls_audio="own")
    out, p = call(variables, batch), jax.tree.map(np.asarray, variables["params"])
    a = p["attention"]
    for row, n in enumerate((4, 3, 2)):
        text, audio = (batch[m][row, :n] for m in ("text", "audio"))
        x = text @ a["text_convolution"]["conv"]["kernel"][0]
        y = audio @ a["audio_convolution"]["conv"]["kernel"][0]
        scores = a["text_weight"][0] * relu_products(x / np.sqrt(np.linalg.norm(x)))
        scores = scores + a["audio_weight"][0] * relu_products(y)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        np.testing.assert_allclose(out["attention"][row, :n, :n], weights, atol=2e-6)
        h = (weights @ text + text)[0] @ a["dense"]["kernel"] + a["dense"]["bias"]
        h = (h - h.mean()) / h.std() * a["norm"]["scale"] + a["norm"]["bias"]
        np.testing.assert_allclose(out["fusion"][row], h, atol=2e-6)
        pred = h @ p["head"]["kernel"] + p["head"]["bias"]
        np.testing.assert_allclose(out["pred"][row], pred[0], atol=2e-6)


@pytest.mark.parametrize("cls_audio", ["mean", "own"])
def test_audio_counts_although_that_of_the_first_step_is_zero(cls_audio):
    batch = example()
    batch["audio"][:, 0] = 0
    variables, call = made(cls_audio=cls_audio)
    before = call(variables, batch)["pred"]
    batch["audio"] = np.where(batch["audio_mask"][..., None], 3 - batch["audio"], 0)
    batch["audio"][:, 0] = 0
    change = np.abs(call(variables, batch.copy())["pred"] - before)
    assert (change > 1e-4).all() if cls_audio == "mean" else (change == 0).all()


def test_only_the_norm_of_the_batch_lets_batch_mates_matter():
    batch = example()
    mates = {k: np.concatenate([v[:2], v[:1]]) for k, v in batch.items()}
    filler = {**batch, "valid": np.array([True, True, False])}
    for scale in ("sample", "batch"):
        assert CMBert(SPEC, scale=scale).fixed_length == (scale == "batch")
        variables, call = made(scale=scale)
        wanted = call(variables, batch)["fusion"][:2]
        near = np.abs(call(variables, mates)["fusion"][:2] - wanted).max() < 1e-6
        assert near == (scale == "sample")
        # A row that only fills up is no part of the norm: what it holds is the same.
        other = {
            **filler,
            "text": filler["text"] * np.float32([1, 1, 5])[:, None, None],
        }
        np.testing.assert_allclose(
            call(variables, other)["fusion"][:2],
            call(variables, filler)["fusion"][:2],
            atol=1e-5,
        )


def test_no_gradient_flows_through_the_norm_of_a_batch():
    text, audio = np.ones((2, 3, 6), np.float32), np.ones((2, 3, 3), np.float32)
    mask, valid = np.ones((2, 3), bool), np.ones(2, bool)
    for scale in ("sample", "batch"):
        block = CrossModalAttention(5, scale)
        options = dict(valid=valid, train=False)
        shapes = template(block, text, audio, mask, **options)
        variables = jax.tree.map(lambda leaf: np.ones(leaf.shape, "float32"), shapes)

        def norm(text, block=block, variables=variables, options=options):
            return block.apply(variables, text, audio, mask, **options)["norm"].sum()

        slope = np.abs(jax.jit(jax.grad(norm))(text)).max()
        assert (slope == 0) == (scale == "batch")


def test_the_authors_names():
    spec = Spec(dims=(6, 3, 1), lengths=(4, 4, 1), num_train=6, fields=FIELDS)
    model = CMBert(spec, encoder=toys.BERT, dim=5)
    shapes = template(model, spec.example(2), train=False)
    rng, table = np.random.default_rng(0), cm_bert.table(model)
    values = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), shapes)
    state = {k: np.asarray(v) for k, v in table.arrays(values).items()}
    assert state["BertFinetun.proj_a.weight"].shape == (5, 3, 1)
    assert state["BertFinetun.text_weight_1"].shape == (1,)
    unused = {"BertFinetun.bias": np.zeros(1), "bert.pooler.dense.bias": np.zeros(6)}
    loaded = table.variables(state | unused, shapes)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), loaded, values
    )


@pytest.mark.parametrize(
    "encoder,steps",
    [(toys.XLNET, [3, 1]), (toys.T5, None)],
    ids=["xlnet", "t5"],
)
def test_cls_is_where_the_encoder_has_it(encoder, steps):
    """The step that is read, and that has the clip's mean as its audio."""
    spec = Spec(dims=(6, 3, 1), lengths=(4, 4, 1), num_train=6, fields=FIELDS)
    batch = spec.example(2)
    batch["audio"] = np.random.default_rng(0).normal(size=(2, 4, 3)).astype("float32")
    batch["text_mask"] = np.arange(4) < np.array([[4], [2]])
    batch["audio_mask"] = batch["text_mask"]
    model = CMBert(spec, encoder=encoder, dim=5)

    @jax.jit
    def run(key):
        given = {}

        def watch(next_call, args, kwargs, context):
            out = next_call(*args, **kwargs)
            if isinstance(context.module, CrossModalAttention):
                given.update(audio=args[1], hidden=out["hidden"])
            return out

        with nn.intercept_methods(watch):
            return model.init_with_output(key, batch, train=False)[0] | given

    out = jax.tree.map(np.asarray, run(jax.random.key(0)))
    hidden, audio, mask = out["hidden"], out["audio"], batch["text_mask"]
    for i, real in enumerate(mask):
        own, one = batch["audio"][i], steps and steps[i]
        expected = hidden[i][real].mean(0) if one is None else hidden[i][one]
        np.testing.assert_allclose(out["fusion"][i], expected, atol=1e-6)
        changed = np.abs(audio[i] - own)[real].max(axis=1) > 1e-6
        assert np.flatnonzero(changed).tolist() == ([] if one is None else [one])


FIELDS = (*Spec.fields, "text_ids", "text_type")
