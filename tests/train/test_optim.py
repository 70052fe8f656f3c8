"""Optimizers against hand-written numpy, and the errors of parameter groups."""

import collections
import dataclasses
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from msajax.data.spec import Spec
from msajax.models.text_only import TextOnly
from msajax.train import optim, step
from msajax.train.optim import Optimizer
from tests import toys
from tests.models import test_registry

PATHS = ("encoder/kernel", "encoder/bias", "head/kernel")


def run(optimizer, grads, *, start=1.0, updates=10, accumulate=1):
    """Values of one parameter after each gradient."""
    params = {"w": jnp.full((2,), start)}
    transform = optim.build(optimizer, {"w": 0}, updates=updates, accumulate=accumulate)
    state, values = transform.init(params), []
    for g in grads:
        step, state = transform.update({"w": jnp.full((2,), g)}, state, params)
        params = jax.tree.map(jnp.add, params, step)
        values.append(float(params["w"][0]))
    return values


def numpy_adam(
    grads, *, lr, decay, coupled, amsgrad=False, w=1.0, b1=0.9, b2=0.999, eps=1e-8
):
    # torch.optim.Adam adds decay * w to the gradient, AdamW shrinks w by lr * decay.
    m = v = largest = 0.0
    values = []
    for t, g in enumerate(grads, 1):
        g = g + decay * w if coupled else g
        w = w if coupled else w * (1 - lr * decay)
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        largest = max(largest, v) if amsgrad else v
        w -= lr * (m / (1 - b1**t)) / (np.sqrt(largest / (1 - b2**t)) + eps)
        values.append(w)
    return values


@pytest.mark.parametrize("name,coupled", [("adam", True), ("adamw", False)])
def test_adam_decays_weights_as_pytorch(name, coupled):
    grads = [0.3, -0.2, 0.05, 0.4]
    found = run(Optimizer(name=name, learning_rate=0.1, weight_decay=0.5), grads)
    wanted = numpy_adam(grads, lr=0.1, decay=0.5, coupled=coupled)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_amsgrad_keeps_the_largest_second_moment_as_pytorch():
    # So that the second moment falls soon: b2 is small.
    grads = [0.05, 0.4, 0.02, -0.03, 0.01]
    settings = dict(learning_rate=0.1, weight_decay=0.05, b2=0.5)
    wanted = dict(lr=0.1, decay=0.05, coupled=True, b2=0.5)
    found = run(Optimizer(name="amsgrad", **settings), grads)
    amsgrad = numpy_adam(grads, amsgrad=True, **wanted)
    np.testing.assert_allclose(found, amsgrad, rtol=1e-5)
    assert np.abs(np.array(found) - numpy_adam(grads, **wanted)).max() > 1e-3


def test_rmsprop_is_pytorchs():
    """eps is added to the root, the average starts at 0 and is not corrected; the decay is coupled."""
    grads, w, v, wanted = [0.3, -0.2, 0.05, 0.4], 1.0, 0.0, []
    for g in grads:
        g = g + 0.5 * w
        v = 0.9 * v + 0.1 * g * g
        w -= 0.1 * g / (np.sqrt(v) + 0.01)
        wanted.append(w)
    settings = dict(learning_rate=0.1, weight_decay=0.5, b2=0.9, eps=0.01)
    found = run(Optimizer(name="rmsprop", **settings), grads)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_sgd():
    found = run(Optimizer(name="sgd", learning_rate=0.1, weight_decay=0.5), [1.0])
    np.testing.assert_allclose(found, [1 - 0.1 * (1.0 + 0.5)], rtol=1e-6)


def test_clip_by_value_then_by_norm():
    sgd = dict(name="sgd", learning_rate=1.0)
    assert run(Optimizer(**sgd, clip_value=0.25), [3.0]) == [0.75]
    # Norm of (3, 3) is 4.243: clipped to 1, each entry is 1/sqrt(2).
    found = run(Optimizer(**sgd, clip_norm=1.0), [3.0])
    np.testing.assert_allclose(found, [1 - 2**-0.5], rtol=1e-6)


def test_accumulation_averages_the_gradients():
    found = run(Optimizer(name="sgd", learning_rate=1.0), [0.2, 0.4], accumulate=2)
    np.testing.assert_allclose(found, [1.0, 0.7], rtol=1e-6)


@pytest.mark.parametrize(
    "schedule,rates",
    [
        ("constant", [1, 1, 1, 1, 1, 1, 1, 1]),
        ("plateau", [1, 1, 1, 1, 1, 1, 1, 1]),
        ("warmup_linear", [0, 0.5, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]),
        (
            "warmup_cosine",
            [0, 0.5] + [(1 + np.cos(np.pi * i / 6)) / 2 for i in range(6)],
        ),
    ],
)
def test_schedules(schedule, rates):
    warmup = 0.25 if schedule.startswith("warmup") else 0.0
    settings = dict(name="sgd", learning_rate=1.0, schedule=schedule, warmup=warmup)
    optimizer = Optimizer(**settings)
    values = run(optimizer, [1.0] * 8, start=0.0, updates=8)
    np.testing.assert_allclose(-np.diff([0.0, *values]), rates, atol=1e-6)


def test_groups_have_their_own_rates_and_freeze():
    optimizer = Optimizer(
        name="sgd",
        learning_rate=1.0,
        groups=((".*bias", None), ("encoder/.*", {"learning_rate": 0.1}), (".*", {})),
    )
    groups = optim.assign(optimizer, PATHS)
    assert groups == {"encoder/kernel": 1, "encoder/bias": None, "head/kernel": 2}
    trained = {k: g for k, g in groups.items() if g is not None}
    params = {k: jnp.ones(2) for k in trained}
    transform = optim.build(optimizer, trained, updates=1, accumulate=1)
    step, _ = transform.update(params, transform.init(params), params)
    np.testing.assert_allclose(step["encoder/kernel"], [-0.1, -0.1], rtol=1e-6)
    np.testing.assert_allclose(step["head/kernel"], [-1.0, -1.0], rtol=1e-6)


@pytest.mark.parametrize(
    "given,values",
    [
        (0.2, {}),
        (0.0, {"encoder_rate": jnp.array(0.2)}),
        (0.2, {"learning_rate": jnp.array(1.0)}),
    ],
)
def test_encoders_have_a_rate_of_their_own(given, values):
    optimizer = Optimizer(
        name="sgd",
        learning_rate=1.0,
        encoder_rate=given,
        weight_decay=0.5,
        groups=((".*bias", {"weight_decay": 0.0}), (".*", {})),
    )
    ones = {k: jnp.ones(2) for k in (*PATHS, "head/bias", "voice/kernel")}
    groups: Any = optim.assign(optimizer, ones)
    made = optim.build(optimizer, groups, updates=1, accumulate=1, values=values)
    found, _ = made.update(ones, made.init(ones), ones)
    wanted = {
        **{"encoder/kernel": 0.3, "voice/kernel": 0.3, "encoder/bias": 0.2},
        **{"head/kernel": 1.5, "head/bias": 1.0},
    }
    for path, size in wanted.items():
        np.testing.assert_allclose(found[path], [-size, -size], rtol=1e-6)


def test_a_rate_of_encoders_of_0_is_that_of_all_else_also_in_trials():
    ones = {"encoder/kernel": jnp.ones(2), "head/kernel": jnp.ones(2)}
    rule = Optimizer(name="sgd", learning_rate=0.5, encoder_rate=0.1)
    values = {"encoder_rate": jnp.array(0.0), "learning_rate": jnp.array(0.3)}
    made = optim.build(
        rule, dict.fromkeys(ones, 0), updates=1, accumulate=1, values=values
    )
    found, _ = made.update(ones, made.init(ones), ones)
    np.testing.assert_allclose([*found.values()], np.full((2, 2), -0.3), rtol=1e-6)


def test_a_rate_of_encoders_that_no_group_takes_is_an_error():
    own = ("encoder/.*", {"learning_rate": 0.1})
    with pytest.raises(ValueError, match="groups of the encoder have a learning_r"):
        optim.assign(Optimizer(encoder_rate=1e-5, groups=(own, (".*", {}))), PATHS)
    # One of them does, or there is no encoder.
    rest = (("encoder/kernel", {"learning_rate": 0.1}), (".*", {}))
    optim.assign(Optimizer(encoder_rate=1e-5, groups=rest), PATHS)
    rule = Optimizer(encoder_rate=1e-5, groups=(own, (".*", {})))
    assert optim.assign(rule, ["head/bias"], encoders=()) == {"head/bias": 1}


@pytest.mark.parametrize(
    "groups,message",
    [
        (
            (("encoder/.*", {}),),
            'no optimizer group covers the parameter "head/kernel"',
        ),
        (((".*", {}), ("head/.*", {})), 'group "head/.*" matches no parameter'),
        (((".*", {"lr": 1.0}),), r"sets \['lr'\]; a group may set learning_rate"),
    ],
)
def test_wrong_groups_are_errors(groups, message):
    with pytest.raises(ValueError, match=message):
        optim.assign(Optimizer(groups=groups), PATHS)


def test_groups_of_an_encoder_that_is_not_there_are_passed_over():
    optimizer = Optimizer(groups=(("encoder/.*", {}), (".*", {})))
    found = optim.assign(optimizer, ["head/kernel"], encoders=())
    assert found == {"head/kernel": 1}
    optimizer = Optimizer(groups=(("encoder/bais", {}), (".*", {})))
    with pytest.raises(ValueError, match="begin with encoder, head"):
        optim.assign(optimizer, PATHS)


def test_unknown_names_are_errors():
    wrong: Any = Optimizer
    with pytest.raises(ValueError, match="name is 'adm', but must be one of adam"):
        wrong(name="adm")
    with pytest.raises(ValueError, match="schedule is 'step', but must be one of"):
        wrong(schedule="step")


@pytest.mark.parametrize(
    "settings,message",
    [
        (dict(learning_rate=-1.0), "learning_rate is -1.0, but must be at least 0"),
        (
            dict(clip_norm=float("nan")),
            "clip_norm is nan, but must be a number, and finite",
        ),
        (
            dict(schedule="warmup_linear", warmup=1.5),
            "warmup is 1.5, but must be below 1",
        ),
        (dict(warmup=0.1), 'warmup is 0.1, but the schedule "constant" has none'),
        (
            dict(lora_rate=1e-3),
            "lora_rate is 0.001, but .*lora_rank is 0, so that there",
        ),
        (
            dict(lora_alpha=8.0),
            "lora_alpha is 8.0, but .*lora_rank is 0, so that there",
        ),
        (dict(lora_targets=("q",)), "lora_targets is .*lora_rank is 0, so that there"),
    ],
)
def test_values_out_of_range_are_errors(settings, message):
    with pytest.raises(ValueError, match=message):
        Optimizer(**settings)


@pytest.mark.parametrize(
    "name,config,above,below",
    [
        ("adamw", toys.BERT, "pooler/.*", "embeddings/.*"),
        (
            "sgd",
            toys.DEBERTA,
            "pooler/.*",
            "(embeddings|encoder/(rel_embeddings|LayerNorm|conv))/.*",
        ),
        ("adamw", toys.XLNET, "", "word_embedding/.*"),
        (
            *("adamw", toys.T5, "encoder/final_layer_norm/.*"),
            "(word_embedding|encoder/relative_attention_bias)/.*",
        ),
    ],
    ids=lambda x: type(x).__name__,
)
def test_layers_below_learn_more_slowly(name, config, above, below):
    spec = Spec((6, 1, 1), (5, 1, 1), 8, fields=(*Spec.fields, "text_ids", "text_type"))
    paths = step.shapes(TextOnly(spec, encoder=config, pooling="cls")).params
    factors, counts = {}, collections.Counter()
    for path in paths:
        part, _, rest = path.partition("/")
        layer = re.search("/layer/([01])/", path)
        power = 1 - int(layer[1]) if layer else 2
        if part == "head" or re.fullmatch(above, rest):
            power = 0
        else:
            assert bool(layer) != bool(re.fullmatch(below, rest)), path
        factors[path] = 0.5**power
        counts[power] += 1
    assert {*counts} == {0, 1, 2}
    options: Any = dict(name=name, learning_rate=0.1, weight_decay=0.1)
    params = {k: jnp.full((2,), 3.0) for k in factors}
    grads = {k: jnp.full((2,), 0.7) for k in factors}
    updates = []
    for decay in (1.0, 0.5):
        rule = Optimizer(**options, layer_decay=decay)
        made = optim.build(rule, dict.fromkeys(factors, 0), updates=9, accumulate=1)
        updates.append(made.update(grads, made.init(params), params)[0])
    for k, factor in factors.items():
        np.testing.assert_allclose(
            updates[1][k], factor * updates[0][k], rtol=1e-6, err_msg=k
        )


def test_the_decoder_is_above_the_layers_of_the_encoder():
    paths = step.shapes(test_registry.build("unimse")).params
    rates = optim._layer_factors(paths, 0.5)
    below = {k: rate for k, rate in rates.items() if rate != 1}
    bias = "encoder/encoder/relative_attention_bias/embedding"
    assert below == {bias: 0.5, "encoder/word_embedding/embedding": 0.5}
    found = {k for k in paths if optim.layer_of(k) is not None}
    assert found == {k for k in paths if k.startswith("encoder/encoder/layer/")}


@pytest.mark.parametrize(
    "groups", [(), (("encoder/.*", {"learning_rate": 0.1}), (".*", {}))]
)
def test_adapters_have_a_rate_of_their_own(groups):
    rule = Optimizer(
        name="sgd", learning_rate=1.0, groups=groups, lora_rank=1, lora_rate=0.25
    )
    rule = dataclasses.replace(rule, encoder_rate=0.0 if groups else 0.1)
    rates = {"encoder/q/lora_a": 0.25, "encoder/rel_attn/q_lora_b": 0.25}
    rates |= {"encoder/pooler/kernel": 0.1, "head/kernel": 1.0}
    assigned: Any = optim.assign(rule, rates)
    made = optim.build(rule, assigned, updates=1, accumulate=1)
    ones = {k: jnp.ones(2) for k in rates}
    found, _ = made.update(ones, made.init(ones), ones)
    for path, rate in rates.items():
        np.testing.assert_allclose(found[path], [-rate, -rate], rtol=1e-6)
