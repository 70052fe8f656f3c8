"""MARN: against a plain loop over time in numpy, for each option; alignment; the bias that it starts with."""

import re

import jax
import numpy as np
import pytest

from msajax import weights
from msajax.data.spec import Spec
from msajax.models import marn
from msajax.models.marn import MARN, ORDER
from msajax.nn.align import align
from tests.weights.numpy_reference import linear, relu, sigmoid

ALIGNED = Spec((5, 3, 4), (6, 6, 6), 6)
UNALIGNED = Spec((5, 3, 4), (4, 9, 6), 6)
HEADS = 3
SIZES = dict(hidden_dims=(4, 2, 3), view_dims=(2, 3, 1), heads=HEADS, post_dim=5)
HIDDEN = dict(text=4, audio=2, vision=3)


def ready(spec=ALIGNED, **fields):
    rng = np.random.default_rng(0)
    model = MARN(spec, **SIZES, **fields)
    shapes = weights.template(model, spec.example(2), train=False)
    variables = jax.tree.map(lambda x: rng.normal(0, 1, x.shape), shapes)
    return model, jax.tree.map(np.float32, variables)


def outputs(model, variables, batch):
    run = jax.jit(lambda v, b: model.apply(v, b, train=False))
    return jax.tree.map(np.asarray, run(variables, batch))


def state_of(model, variables):
    """The reference's arrays; three biases of its share ours."""
    state = weights.table_of(model).arrays(variables)
    shared = [k for k in state if re.fullmatch(r"fmodel_[vat]\.[WUV]\.bias", k)]
    return state | {k: state[k] / 3 for k in shared}


def softmax(x):
    return np.exp(x) / np.exp(x).sum()


def by_hand(state, x, model):
    """One row, {modality: its real steps [n, D]} -> the prediction."""
    h = {m: np.zeros(n) for m, n in HIDDEN.items()}
    c, z = dict(h), np.zeros(6)
    for t in range(len(x["text"])):
        before = dict(h)
        for m in ORDER:
            own = before[m] * (m == "text" or model.recurrence == "all")
            torch, inputs = f"fmodel_{m[0]}", (x[m][t], own, z)
            terms = zip("WUV", inputs, strict=True)
            s = sum(linear(state, f"{torch}.{name}", value) for name, value in terms)
            f, i, o, g = np.split(s, 4)
            c[m] = sigmoid(f) * c[m] + sigmoid(i) * np.tanh(g)
            h[m] = sigmoid(o) * np.tanh(c[m])
        joined = np.concatenate([h[m] for m in ORDER])
        scores = linear(state, "fmodel.attention_model.0", joined)
        ends = np.cumsum([HEADS * HIDDEN[m] for m in ORDER])
        parts = [part.reshape(HEADS, -1) for part in np.split(scores, ends[:-1])]
        logits = np.concatenate(parts, axis=1)  # [K, N]
        joint = model.attention == "joint"
        a = softmax(logits) if joint else np.stack([softmax(row) for row in logits])
        shares = np.split(a, np.cumsum([HIDDEN[m] for m in ORDER])[:-1], axis=1)
        z = np.concatenate(
            [
                linear(state, f"fmodel.small_net{m[0]}.0", (share * h[m]).ravel())
                for m, share in zip(ORDER, shares, strict=True)
            ]
        )
    last = z if model.output == "code" else np.concatenate([z, *(h[m] for m in ORDER)])
    hidden = relu(linear(state, "pred_model.n1", last))
    return linear(state, "pred_model.n2", hidden)[0]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        dict(recurrence="text", attention="joint", output="code", padded=True),
        dict(recurrence="text"),
        dict(attention="joint", padded=True),
        dict(output="code"),
    ],
    ids=str,
)
def test_a_loop_over_time_says_the_same(fields):
    model, variables = ready(**fields)
    batch = ALIGNED.example(3)
    out = outputs(model, variables, batch)
    state = state_of(model, variables)
    for row in range(3):
        real = np.any([batch[f"{m}_mask"][row] for m in ORDER], axis=0)
        real |= model.padded
        x = {m: batch[m][row][real] for m in ORDER}
        wanted = by_hand(state, x, model)
        np.testing.assert_allclose(out["pred"][row], wanted, atol=1e-5)
    axes = -1 if model.attention == "per_head" else (-2, -1)
    np.testing.assert_allclose(out["attention"].sum(axes), 1, atol=1e-5)
    assert out["attention"].shape == (3, 6, HEADS, 9) and out["fusion"].shape[2] == 6
    assert np.ptp(out["pred"]) > 1e-3


def test_unequal_lengths_are_pooled_to_the_texts_steps():
    model, variables = ready(UNALIGNED)
    batch = UNALIGNED.example(3)
    pooled, pool = dict(batch), jax.jit(align)
    for m in ("audio", "vision"):
        mask = f"{m}_mask"
        pooled[m], pooled[mask] = pool(batch[m], batch[mask], batch["text_mask"])
    short = Spec((5, 3, 4), (4, 4, 4), 6)
    found = outputs(model, variables, batch)["pred"]
    wanted = outputs(ready(short)[0], variables, pooled)["pred"]
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_weights_of_the_reference_go_there_and_back():
    model, variables = ready()
    state = state_of(model, variables)
    again = weights.load(model, state)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), again, variables
    )
    assert state["fmodel.attention_model.0.weight"].shape == (27, 9)


def test_gates_start_open_for_what_the_cell_has():
    lsthm, x = marn._LSTHM(hidden=3, code=2), np.zeros((1, 1, 4), np.float32)
    bias = jax.jit(lsthm.init)(jax.random.key(0), x)["params"]["bias"]
    # f, i, o, g: the sum of three biases of 1 in the first
    np.testing.assert_array_equal(bias, np.repeat([3, 0, 0, 0], 3))


def test_an_unknown_choice_names_the_nearest():
    with pytest.raises(
        ValueError, match='attention is "heads".* Known: joint, per_head'
    ):
        MARN(ALIGNED, attention="heads").apply({}, ALIGNED.example(2), train=False)
