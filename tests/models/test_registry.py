"""Properties of every system in msajax/models, at a tiny spec; new systems are picked up by themselves."""

import dataclasses
import functools
import itertools
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from msajax import feed, models, optim, parallel, step, train
from msajax.book import Phase
from msajax.data import loader
from msajax.data.spec import Spec
from msajax.optim import Optimizer
from tests.toys import BERT, XLNET

# All dims and lengths differ, so that a swapped axis shows.
FIELDS = (
    *(*Spec.fields, "text_ids", "text_type"),
    *("label_text", "label_audio", "label_vision"),
)
SPEC = Spec(dims=(8, 3, 4), lengths=(5, 7, 6), num_train=12, fields=FIELDS)
CLASSES = dataclasses.replace(SPEC, label_range=None, classes=("a", "b", "c"))
BATCH = 4
# Not the first epoch, in which Self-MM's single modalities have no labels yet.
PROGRESS = {"epoch": 1, "step": 0, "fraction": 0.0, "lr_scale": 1.0}

# Widths that keep a system small; every field not named here has its default.
TINY = {
    "alr": dict(encoder=BERT, dim=8, tokens=3, heads=2, hidden=5, layers=2),
    "almt": dict(
        criterion="l1",  # the other's first steps are so large that rounding shows
        encoder=BERT,
        dim=6,
        tokens=2,
        head_dim=4,
        embedding_heads=2,
        embedding_mlp_dim=5,
        text_heads=2,
        text_mlp_dim=5,
        ahl_layers=2,
        ahl_heads=2,
        ahl_head_dim=3,
        fusion_layers=1,
        fusion_heads=2,
        fusion_mlp_dim=5,
    ),
    "av_mc": dict(hidden_dims=(9, 8, 7), post_dims=(5, 6, 7), fusion_dim=4),
    "cormult": dict(
        **dict(dim=6, heads=2, layers=1, mce_dim=8, mce_heads=2, mce_layers=1),
        **dict(mce_hidden=5, mce_out=3),
    ),
    "ef_lstm": dict(hidden_dim=6, layers=2),
    "iml_cmm": dict(
        encoder=BERT,
        dim=6,
        tokens=2,
        heads=2,
        head_dim=4,
        mlp_dim=9,  # ReLU: of few units none may be alive
        ahl_layers=2,
        fusion_layers=1,
        attention_dim=3,
        grid_size=1,
    ),
    "lf_dnn": dict(hidden_dims=(9, 8, 7), text_out=3, post_fusion_dim=7),
    "lmf": dict(hidden_dims=(9, 8, 7), rank=2),
    "mag_bert": dict(encoder=BERT, align=True),
    "mag_xlnet": dict(encoder=XLNET, align=True),
    "mfon": dict(encoder=BERT, dim=8, heads=2, layers=(1, 2), teacher_layers=(2, 1)),
    # Narrower, a LayerNorm behind a ReLU that is nearly zero would amplify rounding.
    "misa": dict(criterion="l1", encoder=BERT, dim=12, hidden=5),
    # A small bound: mu has a gradient only where it binds.
    "msg_mba": dict(encoder=BERT, align=True, layer=1, mu=0.05, dim=5, fusion_dim=7),
    "mult": dict(dim=6, heads=2, layers=1),
    "self_mm": dict(
        encoder=BERT,
        hidden_dims=(6, 5),
        out_dims=(4, 3),
        post_dims=(6, 7, 5),
        fusion_dim=9,
    ),
    "tfn": dict(hidden_dims=(9, 8, 7), text_out=3, post_fusion_dim=7),
}

# These draw numbers for each place in the batch: another order of its rows is another draw.
DRAWS = {"alr", "av_mc", "cormult", "iml_cmm"}

# One process of pytest-xdist takes all tests of a system.
SYSTEMS = [pytest.param(n, marks=pytest.mark.xdist_group(n)) for n in models.names()]
systems = pytest.mark.parametrize("name", SYSTEMS)


def build(name, spec=SPEC, **fields):
    return models.get(name)(spec=spec, **{**TINY.get(name, {}), **fields})


def without_dropout(name):
    fields = models.get(name).__dataclass_fields__
    return {k: _zeros(f.default) for k, f in fields.items() if "dropout" in k}


def _zeros(value):
    return tuple(0.0 for _ in value) if isinstance(value, tuple) else 0.0


@functools.cache
def initial(name):
    return step.init(build(name), jax.random.key(0))


def initial_at(name, spec):
    """As `initial`, which takes long to compile; only parameters of other shapes are drawn anew."""
    rng = np.random.default_rng(0)

    shapes, base = step.shapes(build(name, spec)), initial(name)
    params = {
        path: base.params[path]
        if path in base.params and base.params[path].shape == like.shape
        else rng.normal(path.endswith("scale"), 0.1, like.shape).astype(like.dtype)
        for path, like in shapes.params.items()
    }
    collections = {k: base.collections[k] for k in shapes.collections}
    chex.assert_trees_all_equal_shapes(collections, shapes.collections)
    return step.State(params, collections, {})


@functools.cache
def ready(name, spec=SPEC):
    """(model, variables, batch, jitted prediction in evaluation)."""
    model = build(name, spec)
    state = initial(name) if spec == SPEC else initial_at(name, spec)
    variables = step.variables(state)
    predict = jax.jit(lambda v, b: model.apply(v, b, train=False)["pred"])
    return model, variables, spec.example(BATCH, seed=1), predict


@functools.cache
def evaluation(name, spec):
    """Jitted loss in evaluation: (variables, batch) -> (loss, terms)."""
    options = dict(train=False, progress=PROGRESS, method="loss")
    return jax.jit(lambda v, b: build(name, spec).apply(v, b, **options))


@functools.cache
def gradient(name):
    """Jitted gradient of the training losses of all phases without dropout: (variables, batch) -> tree."""
    model = build(name, **without_dropout(name))
    methods = {m for m in dir(model) if re.fullmatch("loss|[a-z]+_loss", m)}

    def loss(params, variables, batch):
        values = {**variables, "params": params}
        mutable = [k for k in variables if k != "params"]
        rngs = {"params": jax.random.key(2)}
        options = dict(rngs=rngs, mutable=mutable, train=True, progress=PROGRESS)
        return sum(
            model.apply(values, batch, method=method, **options)[0][0]
            for method in methods - {"task_loss"}
        )

    return jax.jit(lambda v, b: jax.grad(loss)(v["params"], v, b))


@systems
@pytest.mark.parametrize("spec", [SPEC, CLASSES], ids=["regression", "classes"])
def test_prediction_and_loss_agree(name, spec):
    _, variables, batch, predict = ready(name, spec)
    shape = (BATCH, 3) if spec.classes else (BATCH,)
    chex.assert_shape(predict(variables, batch), shape)
    chex.assert_tree_all_finite(predict(variables, batch))
    loss, terms = evaluation(name, spec)(variables, batch)
    if "pred" in terms:
        pred = terms.pop("pred")
        np.testing.assert_allclose(pred, predict(variables, batch), atol=1e-6)
    chex.assert_shape([loss, *terms.values()], ())
    chex.assert_tree_all_finite((loss, terms))


@systems
@pytest.mark.parametrize("spec", [SPEC, CLASSES], ids=["regression", "classes"])
def test_bfloat16_gives_float32_losses_near_those_of_float32(name, spec):
    _, variables, batch, _ = ready(name, spec)
    loss = evaluation(name, spec)

    def half(array):
        floats = jnp.issubdtype(array.dtype, jnp.floating)
        return jnp.asarray(array, jnp.bfloat16) if floats else array

    params = jax.tree.map(half, variables["params"])
    features = {m: half(batch[m]) for m in ("text", "audio", "vision")}
    wanted, wanted_terms = loss(variables, batch)
    value, terms = loss({**variables, "params": params}, {**batch, **features})
    chex.assert_trees_all_equal_dtypes((value, terms), (wanted, wanted_terms))
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, wanted, rtol=0.02)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=0.05), terms, wanted_terms
    )


@systems
def test_every_parameter_gets_a_gradient(name):
    _, variables, _, _ = ready(name)
    variables = {**variables, "params": _moved(variables["params"])}
    # An odd number of rows that count: else the signs of an L1 loss can cancel.
    batch = {**SPEC.example(12, seed=1), "valid": np.arange(12) < 11}
    grads = gradient(name)(variables, batch)
    chex.assert_tree_all_finite(grads)
    for path, grad in jax.tree_util.tree_leaves_with_path(grads):
        assert jnp.abs(grad).max() > 0, jax.tree_util.keystr(path)


def _moved(params):
    """Parameters without constants: what starts at zero can hide others' gradients."""
    rng = np.random.default_rng(0)

    def move(leaf):
        constant = leaf.size and leaf.min() == leaf.max()
        return leaf + constant * rng.normal(0, 0.1, leaf.shape).astype(leaf.dtype)

    return jax.tree.map(move, params)


@pytest.mark.parametrize(
    "name", [p for p in SYSTEMS if not models.get(p.values[0]).static_length]
)
def test_longer_padding_changes_nothing(name):
    # Batches are at most as long as the spec, and often shorter.
    lengths = tuple(length + 3 for length in SPEC.lengths)
    _, variables, _, predict = ready(name, dataclasses.replace(SPEC, lengths=lengths))
    batch = SPEC.example(BATCH, seed=1)
    longer = {}
    for key, value in batch.items():
        extra = 3 if np.ndim(value) > 1 else 0
        pads = [(0, 0), (0, extra)] + [(0, 0)] * (np.ndim(value) - 2)
        longer[key] = np.pad(value, pads[: np.ndim(value)])
    np.testing.assert_allclose(
        predict(variables, longer), predict(variables, batch), atol=1e-5
    )


@systems
def test_what_depends_on_padding_says_so(name):
    fields = models.get(name).__dataclass_fields__
    assert build(name).fixed_length == models.get(name).static_length
    if "padded" in fields:
        assert build(name, padded=True).fixed_length


@systems
def test_padded_values_change_nothing(name):
    _, variables, batch, predict = ready(name)
    noise = dict(batch)
    for key in ("text", "audio", "vision"):
        noise[key] = np.where(batch[f"{key}_mask"][..., None], batch[key], 7.0)
    for key in ("text_ids", "text_type"):
        noise[key] = np.where(batch["text_mask"], batch[key], 1 - batch[key])
    np.testing.assert_allclose(
        predict(variables, noise), predict(variables, batch), atol=1e-5
    )


@systems
def test_batch_mates_do_not_matter_in_evaluation(name):
    _, variables, batch, predict = ready(name)
    others = SPEC.example(BATCH, seed=9)
    mixed = {k: np.concatenate([v[:1], others[k][1:]]) for k, v in batch.items()}
    np.testing.assert_allclose(
        predict(variables, mixed)[0], predict(variables, batch)[0], atol=1e-5
    )


@systems
@pytest.mark.parametrize("modality", ["text", "audio", "vision"])
def test_a_missing_modality_is_an_all_false_mask(name, modality):
    _, variables, _, predict = ready(name)
    batch = SPEC.example(12, seed=1)
    batch[f"{modality}_mask"] = np.zeros_like(batch[f"{modality}_mask"])
    batch[modality] = np.zeros_like(batch[modality])
    chex.assert_tree_all_finite(predict(variables, batch))
    chex.assert_tree_all_finite(gradient(name)(variables, batch))


@systems
def test_steps_of_two_seeds_on_four_devices_equal_one(name):
    model = build(name, **without_dropout(name))
    phase = Phase(epochs=1, optimizer=Optimizer(name="sgd", learning_rate=0.1))
    (alone,) = _steps(model, phase)
    both = _steps(model, phase, devices=4, seeds=2, roll=int(name not in DRAWS))
    for seed, (path, value) in itertools.product(both, alone.items()):
        np.testing.assert_allclose(seed[path], value, atol=2e-6, err_msg=path)


def _steps(model, phase, *, devices=1, seeds=1, roll=1):
    """Parameters and collections of each seed after two SGD steps over 8 rows, one of them filler.

    The seeds are the same, but for their order of the rows in a batch, which `roll`
    shifts from one to the next.
    """
    devices = parallel.find_devices(devices)
    rows = np.array([[0, 5, 2, 3, 4, 1, 6, -1], [3, 2, 1, 0, 7, 8, 9, 10]], np.int32)
    rows = np.stack([np.roll(rows, i * roll, axis=1) for i in range(seeds)])
    data = SPEC.example(12, seed=3)
    del data["valid"]
    state = step.init(model, jax.random.key(0))
    transform = optim.build(
        phase.optimizer, dict.fromkeys(state.params, 0), updates=2, accumulate=1
    )
    chex.clear_trace_counter()
    one = chex.assert_max_traces(
        step.make_step(model, phase, transform, set(state.params)), n=2
    )
    loop = step.make_loop(one, devices, steps=2, total=2, seeds=seeds)
    state = state._replace(opt_state={phase.name: transform.init(state.params)})
    put = functools.partial(parallel.replicate, devices=devices)
    seed = jax.random.key_data(jax.random.key(0)), np.float32(1), np.array(True)
    state, seed = put(train.stack([(state, seed)] * seeds))
    source = feed.source([data], devices, resident=True)
    for i in range(2):  # the second call runs the same program
        batches = loader.Batches(rows[:, i : i + 1], np.zeros(1, np.int32))
        (chunk,) = source.chunks(batches)
        chunk = chunk._replace(ends=put((np.int32(i), np.int32(1))))
        state, metrics = loop(state, *chunk, put(np.int32(0)), *seed)
    assert np.isfinite(jax.device_get(metrics["loss"])).all()
    found = jax.device_get(state.params | state.collections)
    return [{k: v[i] for k, v in found.items()} for i in range(seeds)]
