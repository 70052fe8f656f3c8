import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from msajax.data.spec import MODALITIES, Spec
from msajax.models.mctn import MCTN, _Decoder
from msajax.weights import mctn, template

SPEC = Spec(dims=(4, 3, 5), lengths=(3, 6, 5), num_train=6)


def random_variables(model):
    """Drawn without running the network."""
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: rng.normal(0, 0.5, leaf.shape).astype(np.float32),
        template(model, model.spec.example(2), train=False),
    )


def lstm(z, c):
    i, f, g, o = np.split(z, 4, axis=-1)
    sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def decode(p, encoded, state, mask, target, *, carried, forcing, first):
    """The decoder, a step at a time; the reset one's cells are two directions of one step."""
    n = state.shape[1]
    s, c, y, made = state, np.zeros_like(state), np.zeros_like(target[:, 0]), []
    for t in range(target.shape[1]):
        if t == 0 and not first:
            made.append(np.zeros_like(y))
            continue
        if forcing and t:
            y = target[:, t - 1]
        inputs = np.concatenate([np.repeat(s[:, None], 3, axis=1), encoded], -1)
        scores = np.tanh(inputs @ p["attention"]) @ p["score"]
        weights = np.where(mask, np.exp(scores), 0)
        weights /= weights.sum(-1, keepdims=True)
        context = np.einsum("bl,bln->bn", weights, encoded)
        x = np.concatenate([y, context], -1)
        if carried:
            z = x @ p["kernel"][0] + p["bias"][0] + s @ p["recurrent_kernel"]
            s, c = lstm(z, c)
        else:
            cells = zip(p["kernel"], p["bias"], strict=True)
            s = sum(lstm(x @ k + b, np.zeros((len(x), n)))[0] for k, b in cells)
        y = np.concatenate([s, context], -1) @ p["out"] + p["out_bias"]
        made.append(y)
    return np.stack(made, 1)


@pytest.mark.parametrize(
    "carried,forcing,first",
    [(True, False, True), (True, True, False), (False, True, True)],
)
def test_decoder_against_a_loop_over_time(carried, forcing, first):
    rng = np.random.default_rng(0)
    encoded, target = rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 5, 6))
    state, mask = rng.normal(size=(2, 4)), np.array([[1, 1, 1], [1, 1, 0]], bool)
    inputs = jax.tree.map(jnp.float32, ((encoded, state), target))
    decoder = _Decoder(6, 4, carried, forcing, first)
    variables = decoder.init(jax.random.key(1), inputs[0], mask, inputs[1])
    y, attention = decoder.apply(variables, inputs[0], mask, inputs[1])
    p = jax.tree.map(np.asarray, variables["params"])
    options = dict(carried=carried, forcing=forcing, first=first)
    wanted = decode(p, encoded, state, mask, target, **options)
    np.testing.assert_allclose(y, wanted, atol=1e-5)
    np.testing.assert_array_equal(attention[1, :, 2], np.zeros(4 + first))


def test_text_alone_predicts_and_padding_adds_no_error():
    model = MCTN(SPEC, hidden=3, teacher_forcing=True)
    batch, other = SPEC.example(3, seed=1), SPEC.example(3, seed=2)
    variables = random_variables(model)
    options = dict(train=False, progress={}, method="loss")
    loss = jax.jit(lambda b: model.apply(variables, b, **options))
    total, terms = loss(batch)
    _, mixed = loss(batch | {k: other[k] for k in ("audio", "vision")})
    np.testing.assert_array_equal(mixed["pred"], terms["pred"])
    assert abs(mixed["mse_audio"] - terms["mse_audio"]) > 1e-3

    weighted = 0.1 * sum(terms[f"mse_{m}"] for m in MODALITIES)
    np.testing.assert_allclose(total, terms["task"] + weighted, rtol=1e-6)
    noise = {
        m: np.where(batch[f"{m}_mask"][..., None], batch[m], np.float32(9))
        for m in MODALITIES
    }
    chex.assert_trees_all_close(loss(batch | noise), (total, terms), rtol=1e-6)


def test_errors_are_means_over_real_steps_by_hand():
    model = MCTN(SPEC, hidden=3)
    batch, variables = SPEC.example(3, seed=1), random_variables(model)
    for m in MODALITIES:  # the last row is all padding but its first step
        batch[f"{m}_mask"][-1] = np.arange(batch[m].shape[1]) < 1
    options = dict(train=False, progress={}, method="loss", capture_intermediates=True)
    (_, terms), kept = jax.jit(lambda b: model.apply(variables, b, **options))(batch)
    (out,) = kept["intermediates"]["__call__"]
    for m, dim in zip(MODALITIES, SPEC.dims, strict=True):
        y, rows = np.asarray(out["translations"][m])[..., :dim], []
        for row, steps in enumerate(batch[f"{m}_mask"].sum(1)):
            rows.append(np.square(y[row, :steps] - batch[m][row, :steps]).mean())
        np.testing.assert_allclose(terms[f"mse_{m}"], np.mean(rows), rtol=1e-4)


def test_errors_are_of_a_modalitys_own_features():
    """The translations have the width of the widest; the rest of it is zeros, and counts if padded."""
    batch = SPEC.example(2)
    shapes = {}
    for padded in (False, True):
        model = MCTN(SPEC, hidden=3, padded=padded)
        masks, x, dims = model._inputs(batch)
        shapes[padded] = dims
        assert {v.shape[-1] for v in x.values()} == {5}
        assert masks["audio"].all() == padded
        np.testing.assert_array_equal(x["audio"][..., 3:], np.zeros((2, 6, 2)))
    assert shapes == {
        False: dict(text=4, audio=3, vision=5),
        True: dict(text=5, audio=5, vision=5),
    }


def test_only_the_layout_over_the_batch_lets_batch_mates_matter():
    spec = dataclasses.replace(SPEC, lengths=(4, 4, 4))
    settings = {**mctn.REFERENCE, "hidden": 3}
    batch = spec.example(3)
    mates = {k: np.concatenate([v[:2], v[:1]]) for k, v in batch.items()}
    variables = random_variables(MCTN(spec, **settings))
    for layout in ("time", "batch"):
        model = MCTN(spec, **{**settings, "layout": layout})
        assert model.fixed_length
        predict = jax.jit(lambda b, m=model: m.apply(variables, b, train=False)["pred"])
        same = np.allclose(predict(batch)[:2], predict(mates)[:2], atol=1e-6)
        assert same == (layout == "time")


def test_a_state_that_is_carried_has_a_kernel_and_one_direction():
    batch = SPEC.example(2)
    carried, reset = (
        template(MCTN(SPEC, decoder_state=s), batch, train=False)["params"]["decoder_1"]
        for s in ("carried", "reset")
    )
    assert carried["kernel"].shape == (1, 37, 128) and "recurrent_kernel" in carried
    assert reset["kernel"].shape == (2, 37, 128) and "recurrent_kernel" not in reset
    with pytest.raises(ValueError, match='did you mean "reset"'):
        template(MCTN(SPEC, decoder_state="resets"), batch, train=False)
