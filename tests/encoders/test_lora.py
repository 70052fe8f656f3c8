"""Low-rank adapters: what they add, what is trained, what they cost."""

import dataclasses
import functools
import re

import jax
import numpy as np
import pytest

from msajax import parallel
from msajax.data.spec import Spec
from msajax.encoders.lora import DEFAULT, Lora, is_adapter
from msajax.encoders.mpnet import MPNetConfig
from msajax.models.text_only import TextOnly
from msajax.run import recipe
from msajax.train import optim, step
from msajax.train.plan import Phase
from tests import toys

SPEC = Spec((6, 1, 1), (5, 1, 1), 8, fields=(*Spec.fields, "text_ids", "text_type"))
LORA = Lora(2, 8.0)
# Adapters of `toys` encoders: 2 layers, query and value.
NAMES = {
    toys.BERT: r"encoder/encoder/layer/[01]/attention/self/(query|value)/lora_[ab]",
    toys.MPNET: r"encoder/encoder/layer/[01]/attention/attn/[qv]/lora_[ab]",
    toys.ELECTRA: r"encoder/encoder/layer/[01]/attention/self/(query|value)/lora_[ab]",
    toys.XLNET: r"encoder/layer/[01]/rel_attn/[qv]_lora_[ab]",
    toys.DEBERTA: r"encoder/encoder/layer/[01]/attention/self/(query|value)_proj/lora_[ab]",
    toys.T5: r"encoder/encoder/layer/[01]/attention/[qv]/lora_[ab]",
}


def system(config, lora=LORA, **fields):
    return TextOnly(SPEC, encoder=config, lora=lora, dropout=0.0, **fields)


def drawn(model, seed=0):
    """A state of a system whose adapters add something."""
    rng = np.random.default_rng(seed)
    state = step.init(model, jax.random.key(seed))
    params = {
        k: rng.normal(size=x.shape).astype(np.float32) if is_adapter(k) else x
        for k, x in state.params.items()
    }
    return state._replace(params=params)


@functools.partial(jax.jit, static_argnums=0)
def predict(model, state):
    return model.apply(step.variables(state), SPEC.example(3), train=False)["pred"]


@pytest.mark.parametrize(
    "config",
    [  # the others' layers differ from BERT's in their attention's scores alone
        pytest.param(c, marks=[] if c in (toys.BERT, toys.T5) else pytest.mark.slow)
        for c in NAMES
    ],
    ids=("bert", "mpnet", "electra", "xlnet", "deberta", "t5"),
)
def test_merged_is_what_the_adapters_compute(config):
    model, plain = system(config), system(config, None)
    state = drawn(model)
    adapters = [k for k in state.params if is_adapter(k)]
    assert len(adapters) == 8
    assert all(re.fullmatch(NAMES[config], k) for k in adapters)
    found = predict(model, state)
    merged = state._replace(params=LORA.merge(state.params))
    np.testing.assert_allclose(predict(plain, merged), found, atol=1e-5)
    base = {k: x for k, x in state.params.items() if not is_adapter(k)}
    alone = predict(plain, state._replace(params=base))
    assert np.abs(alone - found).max() > 1e-3
    # At first they add nothing.
    fresh = step.init(model, jax.random.key(3))
    base = {k: x for k, x in fresh.params.items() if not is_adapter(k)}
    assert base.keys() == step.shapes(plain).params.keys()
    without = predict(plain, fresh._replace(params=base))
    np.testing.assert_array_equal(predict(model, fresh), without)


@pytest.mark.slow  # the training below scans and computes again as well
def test_scan_and_remat_compute_the_same():
    state = drawn(system(toys.BERT))
    found = predict(system(toys.BERT), state)
    for fields in ({"scan": True}, {"remat": True}, {"scan": True, "remat": True}):
        model = system(toys.BERT, **fields)
        assert step.shapes(model).params.keys() == state.params.keys()
        np.testing.assert_allclose(predict(model, state), found, atol=1e-5)

    def loss(params, fields):
        model = system(toys.BERT, **fields)
        return predict(model, state._replace(params=params)).sum()

    whole, piecewise = (
        jax.grad(loss)(state.params, fields)
        for fields in ({}, {"scan": True, "remat": True})
    )
    for name, gradient in whole.items():
        np.testing.assert_allclose(piecewise[name], gradient, atol=1e-4)
        assert np.any(gradient) or not is_adapter(name)


def program(data, lora=LORA, **changes):
    rule = recipe.fine_tune(learning_rate=1e-2, head=1e-2, **changes)
    phase = Phase(epochs=2, batch_size=4, optimizer=optim.Optimizer(**rule))
    return system(toys.BERT, lora, scan=True, remat=True), phase


@pytest.fixture(scope="module")
def data():
    devices = tuple(parallel.find_devices(1))
    return toys.on_devices(
        devices, given=toys.examples(SPEC, (8, 4, 4), seed=0), spec=SPEC
    )


@pytest.mark.parametrize(
    "precision", ["float32", pytest.param("bfloat16", marks=pytest.mark.slow)]
)
def test_only_adapters_and_the_head_train_and_a_run_resumes(tmp_path, data, precision):
    model, phase = program(data)

    def train(folder, **options):
        options |= {"precision": precision}
        ((book, best),) = toys.train(model, (phase,), data, {1: folder}, **options)
        return book, best

    book, best = train(tmp_path / "whole")
    assert book.finished and np.isfinite(book.history[-1]["train_loss"])
    start = step.init(model, jax.random.key(1))
    moved = {
        k for k, x in best.params.items() if not np.array_equal(x, start.params[k])
    }
    assert moved == {k for k in start.params if is_adapter(k) or k.startswith("head/")}
    assert not train(tmp_path / "cut", stop_after=1)[0].finished
    _, again = train(tmp_path / "cut")
    assert jax.tree.all(jax.tree.map(np.array_equal, best.params, again.params))


def test_memory_of_the_optimizer_at_full_size(data):
    source = data.splits["train"]

    def numbers(lora):
        # MPNet-base, as it is fine-tuned and with adapters of rank 8.
        model = TextOnly(SPEC, encoder=MPNetConfig(), lora=lora)
        _, phase = program(data, lora)
        made = step.Program(model, phase, data.dataset, source, cycles=1)
        params = step.shapes(model).params
        state = jax.eval_shape(made.init, params)
        return {jax.tree_util.keystr(k): x for k, x in jax.tree.leaves_with_path(state)}

    adapted, full = numbers(Lora(8, 16.0)), numbers(None)
    sizes = [4 * sum(x.size for x in kind.values()) for kind in (adapted, full)]
    assert 0.0025 < sizes[0] / sizes[1] < 0.003
    assert 870e6 < sizes[1] < 880e6  # two moments of 109 M parameters
    assert not [k for k in adapted if "encoder/" in k and "lora_" not in k]


def test_first_layers_may_stay_as_they_are(data):
    model, phase = program(data, frozen_layers=1)
    made = step.Program(model, phase, data.dataset, data.splits["train"], cycles=1)
    trained = {k for k in step.shapes(model).params if LORA.trains(k)}
    fixed = trained - made.paths
    assert len(fixed) == 4 and all("/layer/0/" in k and is_adapter(k) for k in fixed)
    assert made.paths < trained


@pytest.mark.parametrize("config", [toys.ELECTRA, toys.DEBERTA])
def test_the_pooler_is_trained_as_it_is(data, config):
    # Many checkpoints have none, and then it starts from random values.
    model = system(config, Lora(1, 1.0, ("dense",)), pooling="cls")
    _, phase = program(data)
    made = step.Program(model, phase, data.dataset, data.splits["train"], cycles=1)
    own = {k for k in made.paths if k.startswith("encoder/") and not is_adapter(k)}
    assert own == {f"encoder/pooler/dense/{name}" for name in ("kernel", "bias")}
    assert not [k for k in made.paths if "/pooler/" in k and is_adapter(k)]


def test_a_group_of_the_encoder_that_matches_nothing(data):
    model, phase = program(data)
    groups = (("encoder/bais", {}), (".*", {}))
    rule = dataclasses.replace(phase.optimizer, groups=groups)
    phase = dataclasses.replace(phase, optimizer=rule)
    with pytest.raises(ValueError, match='group "encoder/bais" matches no parameter'):
        step.Program(model, phase, data.dataset, data.splits["train"], cycles=1)


@pytest.mark.parametrize(
    "config,targets,message",
    [
        (
            *(toys.BERT, ("qury",)),
            'has no dense layer "qury"; did you mean "query"? Known: dense, key, query, value',
        ),
        (toys.BERT, ("query", "LayerNorm"), 'no dense layer "LayerNorm"'),
        (
            *(toys.XLNET, ("dense",)),
            'no dense layer "dense". Known: k, layer_1, layer_2, q, r, v',
        ),
    ],
)
def test_targets_that_are_no_layers(data, config, targets, message):
    model, (_, phase) = system(config, Lora(2, 8.0, targets)), program(data)
    with pytest.raises(ValueError, match=re.escape(message)):
        step.Program(model, phase, data.dataset, data.splits["train"], cycles=1)


def test_chosen_targets():
    model = system(toys.BERT, Lora(1, 1.0, ("dense",)))
    state = drawn(model)
    adapters = {k.rpartition("/")[0] for k in state.params if is_adapter(k)}
    assert len(adapters) == 6 and all(k.endswith("dense") for k in adapters)
    merged = state._replace(params=model.lora.merge(state.params))
    found = predict(system(toys.BERT, None), merged)
    np.testing.assert_allclose(found, predict(model, state), atol=1e-5)


def test_settings_of_recipes():
    encoder = {"text.encoder": "x", "optimizer.lora_rank": 4}
    options = recipe.change(recipe.load("text_only:mosi"), encoder)
    assert options.lora == Lora(4, 16.0) and options.plan[0].optimizer.lora_rank == 4
    assert options.plan[0].optimizer.lora_rate == 3e-4
    rule = recipe.fine_tune(learning_rate=1.0, head=1.0, lora_rank=3, lora_alpha=6.0)
    rule |= {"lora_targets": DEFAULT[:2]}
    options = dataclasses.replace(options, optimizer=optim.Optimizer(**rule))
    assert options.lora == Lora(3, 6.0, ("query", "value"))
    for changes, message in (
        ({"text.encoder": ""}, "lora_rank is 3, but no encoder is trained; name one"),
        (
            {"phases": ({"optimizer": {"lora_rank": 2}},)},
            "lora_rank is 2, but must be 3",
        ),
        ({"optimizer.lora_rank": -1}, "lora_rank is -1, but must be at least 0"),
        ({"optimizer.lora_alpha": 0.0}, "lora_alpha is 0.0, but must be above 0"),
    ):
        with pytest.raises(ValueError, match=message):
            recipe.change(options, changes)
