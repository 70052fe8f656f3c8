"""Properties of every system in msajax/models, at a tiny spec; new systems are picked up by themselves.

Nearly all of the time goes into compilation, so each system has few programs, and each of
them answers many questions: `answers` all of evaluation, for numbers and for classes;
`training` the losses and gradients of all phases; `training_on` the losses again, of two
seeds on two devices. The step itself is run for STEPS, and for all systems by `make test-all`.
"""

import dataclasses
import functools
import re
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from msajax import models, parallel
from msajax.data import loader
from msajax.data.spec import MODALITIES, Spec, Written
from msajax.train import feed, fit, optim, step
from msajax.train.optim import Optimizer
from msajax.train.plan import Phase
from tests import random_bits, toys
from tests.models import quick

# All dims and lengths differ, so that a swapped axis shows.
FIELDS = (
    *(*Spec.fields, "text_ids", "text_type"),
    *("label_text", "label_audio", "label_vision", "label_ids"),
)
# Labels as texts of the three pieces that an encoder of the toys reads and writes.
WRITTEN = Written(
    length=4,
    separator=(0,),
    end=2,
    place=0,
    answers=((1,), (1, 1), (0, 1)),
    values=(0.0, 1.0, 2.0),
    fallback=0.0,
)
ROWS = 12


class View(NamedTuple):
    """What the systems of a view are tested on."""

    spec: Spec
    short: Spec  # shorter sequences, fewer turns
    classes: Spec
    batch: dict[str, np.ndarray]
    # An odd number of rows that count: else the signs of an L1 loss can cancel.
    filled: dict[str, np.ndarray]


def _view(spec, **short):
    classes = dataclasses.replace(spec, label_range=None, classes=("a", "b", "c"))
    batch = spec.example(ROWS, seed=1)
    filled = {**batch, "valid": np.arange(ROWS) < ROWS - 1}
    return View(spec, dataclasses.replace(spec, **short), classes, batch, filled)


UTTERANCES = _view(
    Spec((8, 3, 4), (8, 10, 9), num_train=12, fields=FIELDS, written=WRITTEN),
    lengths=(5, 7, 6),
)
DIALOGUES = _view(
    Spec(
        dims=(8, 3, 4),
        lengths=(6, 6, 6),
        num_train=12,
        fields=(*Spec.fields, "utterance_mask", "speaker", "commonsense"),
        turns=6,
        speakers=3,
        commonsense=15,
    ),
    # Three less: the padding that a test adds.
    lengths=(3, 3, 3),
    turns=3,
)


def view(name):
    return DIALOGUES if models.get(name).view == "dialogue" else UTTERANCES


# Not the first epoch, in which Self-MM's single modalities have no labels yet.
# What a failure of losses on two devices means.
HINT = """The loss of the global batch differs between one device and two. Means over the batch
are parallel.batch_mean(x, where=batch["valid"]); comparisons go through parallel.gather."""
PROGRESS = {"epoch": 1, "step": 0, "fraction": 0.0, "lr_scale": 1.0}

# One layer, but for the system that reads the second.
BERT = dataclasses.replace(toys.BERT, num_hidden_layers=1)
XLNET = dataclasses.replace(toys.XLNET, n_layer=1)
T5 = dataclasses.replace(
    toys.T5, vocab_size=3, eos_token_id=2, num_layers=1, num_decoder_layers=1
)

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
    "amml": dict(hidden=4, dim=5, out_dim=9),
    "av_mc": dict(hidden_dims=(9, 8, 7), post_dims=(5, 6, 7), fusion_dim=4),
    "bbfn": dict(align=True, dim=6, heads=2, layers=1),
    "bc_lstm": dict(hidden=4, layers=1, post_dim=9),
    "cm_bert": dict(encoder=BERT, align=True, dim=5),
    # Of the Transformer over the adapters see the system's own tests.
    "conki": dict(
        **dict(dim=6, layers=1, heads=2, hidden=9, adapter_dim=4, adapter_layers=0),
        **dict(out_dim=9),
    ),
    "cormult": dict(
        **dict(dim=6, heads=2, layers=1, remat=False),
        **dict(mce_dim=8, mce_heads=2, mce_layers=1, mce_hidden=5, mce_out=3),
        correlated=("text", "vision"),
    ),
    "cosmic": dict(
        **dict(hidden=5, global_dim=4, party_dim=3, reaction_dim=2, intent_dim=4),
        combine="layer_4",
    ),
    "dialogue_rnn": dict(global_dim=4, party_dim=3, hidden=2, post_dim=9),
    "dialoguegcn": dict(
        **dict(base="gru", hidden=3, recurrent_layers=1, graph_dim=5, bases=2),
        **dict(window_past=2, window_future=1),
    ),
    "ef_lstm": dict(hidden_dim=6, layers=2),
    "fdmer": dict(dim=8, hidden=9, heads=2),
    "graph_mfn": dict(
        hidden_dims=(6, 5, 4),
        memory=7,
        node_dim=5,
        graph_dim=6,
        gate_dims=(8, 9, 10),
        out_dim=9,
    ),
    "iccn": dict(
        **dict(text_dim=5, dim=4, channels=(6, 8), view_dim=5, canonical=3, out_dim=9),
    ),
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
    "imr": dict(
        **dict(dim=6, heads=2, layers=1, self_layers=1, remat=False),
        **dict(pose_dim=3, concept_dim=4),
    ),
    "lf_dnn": dict(hidden_dims=(9, 8, 7), text_out=3, post_fusion_dim=7),
    "lmf": dict(hidden_dims=(9, 8, 7), rank=2),
    "hct_mg": dict(dim=6, heads=2, layers=1, out_dim=9),
    # The generators' loss is a phase's own.
    "hydiscgan": dict(dim=6, steps=4, heads=2, hidden=9, out_dim=7, alignment=0.0),
    "mag_bert": dict(encoder=BERT, align=True),
    "mag_xlnet": dict(encoder=XLNET, align=True),
    "mfm": dict(
        latent_dims=(8, 5, 6, 7),
        factor_dims=(9, 8, 7, 6),
        hidden_dims=(6, 5, 4),
        memory=7,
        attention_dim=9,
        gate_dims=(8, 9, 10),
    ),
    "mfn": dict(
        hidden_dims=(6, 5, 4),
        memory=7,
        attention_dim=9,
        gate_dims=(8, 9, 10),
        out_dim=9,
    ),
    "mfon": dict(encoder=BERT, dim=8, heads=2, layers=(1, 2), teacher_layers=(2, 1)),
    # Narrower, a LayerNorm behind a ReLU that is nearly zero would amplify rounding.
    "misa": dict(criterion="l1", encoder=BERT, dim=12, hidden=5),
    "mmim": dict(hidden_dims=(6, 5), out_dims=(8, 9), fusion_dim=7),
    "mmlatch": dict(align=True, dim=6, feedback="static", bidirectional=False),
    "marn": dict(hidden_dims=(5, 3, 4), view_dims=(4, 2, 3), heads=2, post_dim=6),
    "mlf_dnn": dict(
        hidden_dims=(9, 8, 7), text_out=3, post_dims=(6, 7, 8), post_fusion_dim=7
    ),
    "mlmf": dict(hidden_dims=(9, 8, 7), post_dims=(6, 7, 8), rank=2),
    "mctn": dict(hidden=5),
    "mmml": dict(dim=6, layers=1, heads=2, hidden_dim=9),
    "mm_dfn": dict(hidden=4, recurrent_layers=1, graph_dim=9, layers=2),
    "mmmu_ba": dict(hidden_dims=(4, 3, 5), dim=6),
    # A small bound: mu has a gradient only where it binds.
    "msg_mba": dict(
        encoder=toys.BERT, align=True, layer=1, mu=0.05, dim=5, fusion_dim=7
    ),
    # MMSA's weight of the audio's label on CH-SIMS is 0, so its layers get no gradient.
    "mtfn": dict(
        **dict(hidden_dims=(9, 8, 7), text_out=3, post_dims=(6, 7, 8)),
        **dict(post_fusion_dim=7, weights=(1.0, 0.4, 0.4, 0.8)),
    ),
    "mult": dict(dim=6, heads=2, layers=1, remat=False),
    "qmf": dict(hidden=4, state_dims=(5, 6, 7), measurements=5, out_dim=9),
    # Of one frame a word no state before it is read.
    "raven": dict(dim=5, cell=6, hidden=7, frames=2),
    "self_mm": dict(
        encoder=BERT,
        hidden_dims=(6, 5),
        out_dims=(4, 3),
        post_dims=(6, 7, 5),
        fusion_dim=9,
    ),
    "tfn": dict(hidden_dims=(9, 8, 7), text_out=3, post_fusion_dim=7),
    "unimse": dict(
        **dict(encoder=T5, adapter_layers=1, adapter_dim=4, hidden=5, dim=4),
        **dict(contrast_dim=6, longest=4),
    ),
}

# These draw numbers for each place in the batch: another order of its rows is another draw.
DRAWS = {"alr", "amml", "av_mc", "cormult", "hydiscgan", "iml_cmm", "mfm"}

# The system whose steps on several devices are tested each time: it has statistics, and
# compiles fast. Memories and phases: those of the toys in tests/train.
STEPS = {"lf_dnn"}

systems = pytest.mark.parametrize("name", models.names())


def build(name, spec=None, **fields):
    spec = spec or view(name).spec
    return models.get(name)(spec=spec, **{**TINY.get(name, {}), **fields})


def without_dropout(name):
    fields = models.get(name).__dataclass_fields__
    return {k: _zeros(f.default) for k, f in fields.items() if "dropout" in k}


def _zeros(value):
    return tuple(0.0 for _ in value) if isinstance(value, tuple) else 0.0


@functools.cache
def initial(name):
    """In NumPy: operations on jax's arrays outside of a program are a program for each shape.

    Parameters are drawn there, which takes no program; collections, and the bounds of MSG/MBA,
    start as the system says.
    """
    model = build(name)
    if name == "msg_mba" or step.shapes(model).collections:
        return jax.device_get(step.init(model, random_bits.key(0)))
    return step.State(quick.parameters(model, scale=0.2), {}, {})


@functools.cache
def initial_of_classes(name):
    """As `initial`; only parameters of other shapes are drawn anew."""
    model, base = build(name, view(name).classes), initial(name)
    params = {
        path: base.params[path]
        if path in base.params and base.params[path].shape == drawn.shape
        else drawn
        for path, drawn in quick.parameters(model, scale=0.1).items()
    }
    shapes = step.shapes(model)
    collections = {k: base.collections[k] for k in shapes.collections}
    chex.assert_trees_all_equal_shapes(collections, shapes.collections)
    return step.State(params, collections, {})


# Evaluation ------------------------------------------------------------------------


@functools.cache
def evaluation(name):
    """Jitted (params, others of classes, collections, batch, its labels of classes) -> {task: answers}.

    XLA computes once what the tasks, and what the loss and the prediction, share.
    """
    options = dict(train=False, progress=PROGRESS, method="loss")
    tasks = {
        "regression": (build(name), initial(name)),
        "classes": (build(name, view(name).classes), initial_of_classes(name)),
    }

    def evaluate(params, others, collections, batch, labels, *, predict, asked):
        found = {}
        for task, (model, state) in tasks.items():
            if task not in asked:
                continue
            if task == "classes":
                params, batch = {**params, **others}, {**batch, **labels}
            kept = {k: collections[k] for k in state.collections}
            variables = step.variables(step.State(params, kept, {}))
            loss, terms = model.apply(variables, batch, **options)
            pred = terms.get("pred")
            if predict and (pred is None or task == "regression"):
                pred = model.apply(variables, batch, train=False)["pred"]
            found[task] = pred, loss, terms
        return found

    return jax.jit(evaluate, static_argnames=("predict", "asked"))


def answers(name, batch=None):
    """{task: (prediction, loss, terms)} of a batch in evaluation; the prediction of `__call__`."""
    asked = "regression", "classes"
    found = evaluation(name)(*arguments(name, batch), predict=True, asked=asked)
    return jax.device_get(found)


def arguments(name, batch=None, *, cast=lambda arrays: arrays):
    """What `evaluation` takes; `cast` is done to parameters and features."""
    base, classes = initial(name), initial_of_classes(name)
    others = {k: x for k, x in classes.params.items() if x is not base.params.get(k)}
    batch, drawn = batch or view(name).batch, view(name).classes.example(ROWS)
    labels = {k: v for k, v in drawn.items() if k.startswith("label")}
    batch = {**batch, **cast({m: batch[m] for m in MODALITIES})}
    return cast(base.params), cast(others), base.collections, batch, labels


def predict(name, batch):
    return answers(name, batch)["regression"][0]


def half(arrays):
    def cast(array):
        floats = jnp.issubdtype(array.dtype, jnp.floating)
        return array.astype(jnp.bfloat16) if floats else array

    return jax.tree.map(cast, arrays)


@systems
def test_prediction_and_loss_agree(name):
    for task, (pred, loss, terms) in answers(name).items():
        shape = ROWS, *view(name).spec.shape("label")
        chex.assert_shape(pred, (*shape, 3) if task == "classes" else shape)
        chex.assert_tree_all_finite(pred)
        if "pred" in terms:
            np.testing.assert_allclose(terms.pop("pred"), pred, atol=1e-6)
        chex.assert_shape([loss, *terms.values()], ())
        chex.assert_tree_all_finite((loss, terms))


@systems
def test_bfloat16_gives_float32_losses(name):
    """By tracing alone; of the values see the slow test below, and those of the blocks of nn/."""
    task = "regression"
    run = functools.partial(evaluation(name), predict=False, asked=(task,))
    _, *found = jax.eval_shape(run, *arguments(name, cast=half))[task]
    _, *expected = answers(name)[task]
    chex.assert_trees_all_equal_dtypes(found, expected)
    assert found[0].dtype == jnp.float32


@pytest.mark.slow
@systems
def test_losses_in_bfloat16_are_near_those_in_float32(name):
    asked = ("regression",)
    found = evaluation(name)(*arguments(name, cast=half), predict=False, asked=asked)
    _, loss, terms = found["regression"]
    _, *expected = answers(name)["regression"]
    np.testing.assert_allclose(loss, expected[0], rtol=0.02)
    chex.assert_trees_all_close(terms, expected[1], rtol=0, atol=0.05)


@pytest.mark.parametrize(
    "name", [n for n in models.names() if not models.get(n).static_length]
)
def test_longer_padding_changes_nothing(name):
    # Batches are at most as long as the spec, and often shorter.
    model, variables = build(name), step.variables(initial(name))
    batch = view(name).short.example(ROWS, seed=1)
    short = jax.jit(lambda v, b: model.apply(v, b, train=False)["pred"])
    longer = {}
    for key, value in batch.items():
        extra = 3 if np.ndim(value) > 1 else 0
        pads = [(0, 0), (0, extra)] + [(0, 0)] * (np.ndim(value) - 2)
        longer[key] = np.pad(value, pads[: np.ndim(value)])
    found, expected = predict(name, longer), short(variables, batch)
    if view(name).spec.turns:
        found = found[:, : expected.shape[1]]
    np.testing.assert_allclose(found, expected, atol=1e-5)


@systems
def test_what_depends_on_padding_says_so(name):
    fields = models.get(name).__dataclass_fields__
    assert build(name).fixed_length == models.get(name).static_length
    if "padded" in fields:
        assert build(name, padded=True).fixed_length


@systems
def test_padded_values_change_nothing(name):
    batch = view(name).batch
    noise = dict(batch)
    for key in MODALITIES:
        noise[key] = np.where(batch[f"{key}_mask"][..., None], batch[key], 7.0)
        noise[key] = noise[key].astype(np.float32)
    for key in batch.keys() & {"text_ids", "text_type", "speaker"}:
        noise[key] = np.where(batch["text_mask"], batch[key], 1 - batch[key])
    found, expected = predict(name, noise), predict(name, batch)
    if view(name).spec.turns:
        real = batch["utterance_mask"]
        found, expected = found[real], expected[real]
    np.testing.assert_allclose(found, expected, atol=1e-5)


@systems
def test_batch_mates_do_not_matter_in_evaluation(name):
    batch, others = view(name).batch, view(name).spec.example(ROWS, seed=9)
    mixed = {k: np.concatenate([v[:1], others[k][1:]]) for k, v in batch.items()}
    np.testing.assert_allclose(
        predict(name, mixed)[0], predict(name, batch)[0], atol=1e-5
    )


# Training --------------------------------------------------------------------------


def losses(name):
    """(params, collections, batch, epoch) -> ({loss of a phase: (loss, terms, collections)}) in training without dropout."""
    model = build(name, **without_dropout(name))
    methods = {m for m in dir(model) if re.fullmatch("loss|[a-z]+_loss", m)}

    def run(params, collections, batch, epoch):
        found = {}
        for method in sorted(methods - {"task_loss"}):
            (loss, terms), updated = model.apply(
                step.variables(step.State(params, collections, {})),
                batch,
                rngs={"params": random_bits.key(2)},
                mutable=sorted({path.split("/")[0] for path in collections}),
                train=True,
                progress={**PROGRESS, "epoch": epoch},
                method=method,
            )
            terms = {k: v for k, v in terms.items() if k != "pred"}
            found[method] = loss, terms, traverse_util.flatten_dict(updated, sep="/")
        return found

    return run


@functools.cache
def training(name):
    """Jitted (params, collections, batch, epoch) -> (gradients of the sum of all phases' losses, `losses`)."""

    def total(*args):
        found = losses(name)(*args)
        return sum(loss for loss, _, _ in found.values()), found

    return jax.jit(jax.grad(total, has_aux=True))


def gradients(name, params, batch):
    found = training(name)(params, initial(name).collections, batch, np.int32(1))
    return jax.device_get(found[0])


@systems
def test_every_parameter_gets_a_gradient(name):
    grads = gradients(name, _moved(initial(name).params), view(name).filled)
    chex.assert_tree_all_finite(grads)
    for path, grad in grads.items():
        assert np.abs(grad).max() > 0, path


def _moved(params):
    """Parameters without constants: what starts at zero can hide others' gradients."""
    rng = np.random.default_rng(0)

    def move(leaf):
        constant = leaf.size and leaf.min() == leaf.max()
        return leaf + constant * rng.normal(0, 0.1, leaf.shape).astype(leaf.dtype)

    return jax.tree.map(move, params)


@systems
@pytest.mark.parametrize("modality", MODALITIES)
def test_a_missing_modality_is_an_all_false_mask(name, modality):
    batch = dict(view(name).batch)
    batch[f"{modality}_mask"] = np.zeros_like(batch[f"{modality}_mask"])
    batch[modality] = np.zeros_like(batch[modality])
    chex.assert_tree_all_finite(predict(name, batch))
    chex.assert_tree_all_finite(gradients(name, initial(name).params, batch))


@systems
def test_losses_of_two_seeds_on_two_devices_equal_one(name):
    """Also what a loss writes into collections, over two steps."""
    devices = parallel.find_devices(2)
    run = parallel.over_seeds(losses(name), 2, in_axes=(None, 0, 0, None))
    run = parallel.compile(run, devices, in_axes=(None, None, 0, None))
    put = functools.partial(parallel.replicate, devices=devices)
    orders = np.stack(
        [np.roll(np.arange(ROWS), i * (name not in DRAWS)) for i in (0, 1)]
    )
    filled = view(name).filled
    # [devices, seeds, rows of a device, ...]
    shards = {
        k: np.swapaxes(v[orders].reshape(2, 2, ROWS // 2, *v.shape[1:]), 0, 1)
        for k, v in filled.items()
    }
    params, alone = initial(name).params, initial(name).collections
    both = put(fit.stack([alone] * 2))
    for epoch in map(np.int32, (0, 1)):
        wanted = jax.device_get(training(name)(params, alone, filled, epoch)[1])
        found = jax.device_get(
            run(put(params), both, parallel.put_shards(shards, devices), put(epoch))
        )
        for seed in (0, 1):
            jax.tree.map(
                lambda a, b, i=seed: np.testing.assert_allclose(
                    a[i], b, atol=2e-6, rtol=1e-5, err_msg=HINT
                ),
                found,
                wanted,
            )
        alone, both = wanted["loss"][2], put(found["loss"][2])


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=[pytest.mark.slow] * (n not in STEPS))
        for n in models.names()
    ],
)
def test_steps_of_two_seeds_on_four_devices_equal_one(name):
    model = build(name, **without_dropout(name))
    phase = Phase(epochs=1, optimizer=Optimizer(name="sgd", learning_rate=0.1))
    (alone,) = _steps(model, phase)
    both = _steps(model, phase, devices=4, seeds=2, roll=int(name not in DRAWS))
    for seed in both:
        for path, value in alone.items():
            np.testing.assert_allclose(seed[path], value, atol=2e-6, err_msg=path)


def _steps(model, phase, *, devices=1, seeds=1, roll=1):
    """Parameters and collections of each seed after two SGD steps over 8 rows, one of them filler.

    The seeds are the same, but for their order of the rows in a batch, which `roll`
    shifts from one to the next.
    """
    devices = parallel.find_devices(devices)
    rows = np.array([[0, 5, 2, 3, 4, 1, 6, -1], [3, 2, 1, 0, 7, 8, 9, 10]], np.int32)
    rows = np.stack([np.roll(rows, i * roll, axis=1) for i in range(seeds)])
    data = model.spec.example(12, seed=3)
    del data["valid"]
    state = step.init(model, random_bits.key(0))
    transform = optim.build(
        phase.optimizer, dict.fromkeys(state.params, 0), updates=2, accumulate=1
    )
    chex.clear_trace_counter()
    one = chex.assert_max_traces(
        step.make_step(model, phase, lambda _: transform, set(state.params)), n=2
    )
    loop = step.make_loop(one, devices, steps=2, total=2, seeds=seeds)
    state = state._replace(opt_state={phase.name: transform.init(state.params)})
    put = functools.partial(parallel.replicate, devices=devices)
    values = {"lr_scale": np.float32(1)}
    seed = jax.random.key_data(jax.random.key(0)), values, np.array(True)
    state, seed = put(fit.stack([(state, seed)] * seeds))
    source = feed.source([data], devices, resident=True)
    for i in range(2):  # the second call runs the same program
        batches = loader.Batches(rows[:, i : i + 1], np.zeros(1, np.int32))
        (chunk,) = source.chunks(batches)
        chunk = chunk._replace(ends=put((np.int32(i), np.int32(1))))
        state, metrics = loop(state, *chunk, put(np.int32(0)), *seed)
    assert np.isfinite(jax.device_get(metrics["loss"])).all()
    found = jax.device_get(state.params | state.collections)
    return [{k: v[i] for k, v in found.items()} for i in range(seeds)]
