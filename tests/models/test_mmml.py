"""MMML: its layers, neighbours that are encoded apart, waves, and a loss each."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from msajax.data.spec import Spec
from msajax.encoders.lora import Lora, is_adapter
from msajax.encoders.wav2vec2 import Wav2Vec2Config
from msajax.models.mmml import MMML, CrossModalEncoder, _apart
from msajax.train import step
from msajax.weights import template
from tests.toys import BERT, MPNET

VOICE = Wav2Vec2Config(
    hidden_size=8,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=9,
    conv_dim=(5, 4),
    conv_kernel=(7, 4),
    conv_stride=(4, 3),
    feat_extract_norm="layer",
    num_conv_pos_embeddings=3,
    num_conv_pos_embedding_groups=2,
    conv_pos_kernel_size=4,
)
FIELDS = (*Spec.fields, "text_ids", "text_type", "text_own")
SPEC = Spec((1, 1, 1), (8, 60, 1), 4, fields=FIELDS)
TINY = dict(dim=6, layers=1, heads=2, hidden_dim=9)
WAVES = dict(encoder=BERT, voice=VOICE, **TINY)
# Text of its own ends, and neighbours in front of it; the last row has none.
MASK = np.arange(8) < np.array([8, 7, 6, 4])[:, None]
OWN = np.zeros((4, 8), bool)
OWN[0, [0, 5, 6, 7]] = OWN[1, [0, 4, 6]] = OWN[2, [0, 5]] = OWN[3, :4] = True


def batch():
    made = {**SPEC.example(4, seed=2), "text_mask": MASK, "text_own": OWN}
    made["audio_mask"] = np.arange(60) < np.array([60, 25, 12, 40])[:, None]
    made["audio"] = made["audio"] * made["audio_mask"][..., None]
    return made


def random(like):
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: rng.normal(0, 0.4, x.shape).astype("float32"), like)


@functools.cache
def ready(**fields):
    """Random variables, and jitted (variables, batch) -> (outputs, loss with its terms)."""
    model = MMML(SPEC, **{**WAVES, **fields})
    variables = random(template(model, batch(), train=False))

    def run(variables, batch):
        options = dict(train=False, progress={}, method="loss")
        out = model.apply(variables, batch, train=False)
        return out, model.apply(variables, batch, **options)

    return variables, jax.jit(run)


def norm(x, p):
    x = x - x.mean(-1, keepdims=True)
    x = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-12)
    return x * p["scale"] + p["bias"]


def attention(x, source, p):
    """Of one row alone, [Q, D] and [K, D], in two heads."""
    dense = {k: (lambda h, q=q: h @ q["kernel"] + q["bias"]) for k, q in p.items()}
    pairs = zip("qkv", ("query", "key", "value"), strict=True)
    inputs = {"q": x, "k": source, "v": source}
    made = {k: dense[name](inputs[k]).reshape(-1, 2, 3) for k, name in pairs}
    scores = np.exp(np.einsum("qhe,khe->hqk", made["q"], made["k"]) / np.sqrt(3))
    weights = scores / scores.sum(-1, keepdims=True)
    heads = np.einsum("hqk,khe->qhe", weights, made["v"]).reshape(len(x), -1)
    return norm(dense["out"](heads) + x, p["norm"])


def test_two_layers_in_numpy():
    """As the authors' layers, in every row as if it stood alone."""
    rng, model = np.random.default_rng(1), CrossModalEncoder(2, 2)
    pair = [rng.normal(size=(3, n, 6)).astype("float32") for n in (4, 5)]
    masks = [np.arange(n) < np.array([[n], [2], [1]]) for n in (4, 5)]
    inputs = tuple(zip(pair, masks, strict=True))
    variables = random(template(model, *inputs, train=False))
    found = jax.jit(lambda v, x: model.apply(v, *x, train=False))(variables, inputs)
    for row in range(3):
        x = [h[row][mask[row]] for h, mask in inputs]
        for i in (0, 1):
            p = jax.tree.map(lambda leaf, i=i: leaf[i], variables["params"]["layer"])
            both = list(enumerate(("text", "audio")))
            x = [attention(x[i], x[1 - i], p[f"{m}_cross"]) for i, m in both]
            x = [attention(x[i], x[i], p[f"{m}_self"]) for i, m in both]
            for j, m in both:
                f = p[f"{m}_feed_forward"]
                h = np.maximum(x[j] @ f["fc1"]["kernel"] + f["fc1"]["bias"], 0)
                x[j] = norm(h @ f["fc2"]["kernel"] + f["fc2"]["bias"] + x[j], f["norm"])
        for h, expected, mask in zip(found, x, masks, strict=True):
            np.testing.assert_allclose(h[row][mask[row]], expected, atol=1e-4)


def test_neighbours_are_a_sequence_of_their_own_between_the_same_ends():
    read = jax.jit(_apart)(
        {"text_ids": np.tile(np.arange(8), (4, 1)), "text_type": 1 - OWN}
        | {"text_mask": MASK, "text_own": OWN}
    )
    ids = [
        row[mask] for row, mask in zip(read["text_ids"], read["text_mask"], strict=True)
    ]
    expected = [[0, 5, 6, 7], [0, 4, 6], [0, 5], [0, 1, 2, 3]]
    expected += [[0, 1, 2, 3, 4, 7], [0, 1, 2, 3, 5, 6], [0, 1, 2, 3, 4, 5], [0, 3]]
    assert list(map(list, ids)) == expected
    assert not read["text_type"].any()


def test_neighbours_move_what_is_fused_but_not_the_utterances_own_part():
    variables, run = ready()
    before, after = batch(), batch()
    after["text_ids"] = np.where(
        OWN | ~MASK, before["text_ids"], 1 - before["text_ids"]
    )
    (old, _), (new, _) = run(variables, before), run(variables, after)
    moved = np.abs(new["fusion"] - old["fusion"]).reshape(4, 4, 6).max(-1) > 1e-6
    # Text, the neighbours' text, audio, what is in front of the neighbours' no audio.
    assert (moved[:3] == [False, True, False, True]).all() and not moved[3].any()


def test_a_wave_has_the_frames_that_it_has_alone():
    variables, run = ready()
    made, longer = batch(), batch()
    longer["audio"] = np.where(made["audio_mask"][..., None], made["audio"], 7.0)
    (out, (loss, terms)), (noisy, _) = run(variables, made), run(variables, longer)
    np.testing.assert_allclose(noisy["pred"], out["pred"], atol=1e-5)
    rows = {"fusion": [0, 1, 2, 3], "text": [0, 1, 2, 3], "audio": [0, 1, 2, 3]}
    wanted = dict(fusion=out["pred"], text=out["pred_text"], audio=out["pred_audio"])
    for m, pred in wanted.items():
        error = np.abs(np.asarray(pred) - made["label"])[rows[m]].mean()
        np.testing.assert_allclose(terms[m], error, rtol=1e-5)
    np.testing.assert_allclose(loss, sum(terms[m] for m in wanted), rtol=1e-5)
    made["audio_mask"][1] = False  # has no loss of its audio
    out, (_, terms) = run(variables, made)
    error = np.abs(np.asarray(out["pred_audio"]) - made["label"])[[0, 2, 3]].mean()
    np.testing.assert_allclose(terms["audio"], error, rtol=1e-5)
    assert np.isfinite(out["pred"]).all()


@pytest.mark.parametrize(
    "fields,there,absent",
    [
        ({}, {"fusion_1/kernel": (24, 9), "head_text/kernel": (12, 1)}, "begin_text/p"),
        (dict(context="joined"), {"fusion_1/kernel": (12, 9)}, None),
        (dict(tasks=("text",)), {"head_text/bias": (1,)}, "head_audio"),
        (dict(encoder=MPNET, dim=8), {"begin_text/project/kernel": (6, 8)}, "audio/p"),
        (dict(voice=None), {"begin_audio/project/kernel": (1, 6)}, "voice"),
        (dict(lora=Lora(2, 4.0)), {}, None),
    ],
)
def test_options(fields, there, absent):
    model = MMML(SPEC, **{**WAVES, **fields})
    params = step.shapes(model).params
    assert {k: params[k].shape for k in there} == there
    assert not (absent and [k for k in params if absent in k])
    if model.lora:
        model.lora.check(params)
        adapted = {k.partition("/")[0] for k in params if is_adapter(k)}
        assert adapted == {"encoder", "voice"}
        trained = {k.partition("/")[0] for k in params if model.lora.trains(k)}
        kept = [k for k in params if not model.lora.trains(k)]
        assert trained > adapted and any(k.startswith("voice/") for k in kept)


def test_wrong_options():
    for fields, message in (
        (dict(tasks=("vision",)), 'tasks has "vision"'),
        (dict(heads=4), "heads is 4, which does not divide config.model.dim, 6"),
        (dict(context="before"), 'context is "before"'),
    ):
        with pytest.raises(ValueError, match=message):
            step.shapes(MMML(SPEC, **{**WAVES, **fields}))


def test_classes_have_a_cross_entropy_each():
    spec = dataclasses.replace(SPEC, label_range=None, classes=("a", "b", "c"))
    params = step.shapes(MMML(spec, **WAVES)).params
    heads = [params[f"{k}/bias"].shape for k in ("fusion_2", "head_text", "head_audio")]
    assert heads == [(3,)] * 3
