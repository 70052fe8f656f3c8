"""Self-MM: labels by hand, what the memory is told and what not, on devices and over epochs."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from msajax import parallel
from msajax.data.spec import Spec
from msajax.models import self_mm
from msajax.models.self_mm import SelfMM
from msajax.train import step
from msajax.train.optim import Optimizer
from msajax.train.plan import Phase
from tests import random_bits, toys

ALL = ("fusion", "text", "audio", "vision")
SPEC = Spec((5, 3, 4), (4, 7, 6), num_train=10)
TINY = dict(hidden_dims=(5, 6), out_dims=(3, 4), post_dims=(4, 5, 2), fusion_dim=3)
WIDTHS = dict(zip(ALL, (3, 4, 5, 2), strict=True))
ROWS = np.array([7, 2, 5, 0], np.int32)


def draw(seed=0, rows=4):
    """A memory of 10 rows, features and a batch of some of them."""
    rng = np.random.default_rng(seed)
    memory, features = {}, {}
    for m, width in WIDTHS.items():
        memory[f"label_{m}"] = np.float32([1, -1, 2, -2, 0, 1, -1, 0.5, -3, 3])
        memory[f"label_{m}"] += rng.normal(0, 0.2, 10) * (m != "fusion")
        memory[f"feature_{m}"] = rng.uniform(size=(10, width))
        features[m] = rng.uniform(size=(rows, width)).astype(np.float32)
    memory = {name: x.astype(np.float32) for name, x in memory.items()}
    index = np.resize(ROWS, rows)
    label = memory["label_fusion"][index]
    batch = dict(index=index, label=label, valid=np.ones(rows, bool))
    batch |= {f"{m}_mask": np.ones((rows, 2), bool) for m in ALL[1:]}
    return memory, features, batch


@functools.cache
def remember(**fields):
    model = SelfMM(SPEC, **TINY, **fields)

    def run(memory, features, batch, epoch):
        return model.apply(
            {"memory": memory},
            *(features, batch, epoch),
            method="remember",
            mutable=["memory"],
        )[1]["memory"]

    compiled = jax.jit(run)
    return lambda *arguments: jax.device_get(compiled(*arguments))


def by_hand(memory, features, batch, epoch, bound):
    """The labels of the batch's rows, in plain numpy."""

    def distance(m):
        label, feature = memory[f"label_{m}"], memory[f"feature_{m}"]
        positive, negative = feature[label > 0].mean(0), feature[label < 0].mean(0)
        near, far = (
            np.linalg.norm(features[m] - c, axis=1) for c in (positive, negative)
        )
        return (far - near) / near

    y, n, found = batch["label"], epoch + 1, {}
    for m in ALL[1:]:
        alpha = distance(m) / distance("fusion")
        new = (alpha * y + y + distance(m) - distance("fusion")) / 2
        old = memory[f"label_{m}"][batch["index"]]
        found[m] = ((n - 1) * old + 2 * np.clip(new, -bound, bound)) / (n + 1)
    return found


@pytest.mark.parametrize("epoch,bound", [(1, 3.0), (4, 3.0), (2, 0.5)])
def test_labels_by_hand(epoch, bound):
    memory, features, batch = draw()
    found = remember(bound=bound)(memory, features, batch, epoch)
    wanted = by_hand(memory, features, batch, epoch, bound)
    others = np.delete(np.arange(10), ROWS)
    for m in ALL:
        label, feature = (found[f"{name}_{m}"] for name in ("label", "feature"))
        new = batch["label"] if m == "fusion" else wanted[m]
        np.testing.assert_allclose(label[ROWS], new, rtol=2e-5)
        np.testing.assert_array_equal(feature[ROWS], features[m])
        np.testing.assert_array_equal(label[others], memory[f"label_{m}"][others])
        np.testing.assert_array_equal(feature[others], memory[f"feature_{m}"][others])


def test_the_first_epoch_takes_the_labels_of_all():
    memory, features, batch = draw()
    empty = {name: np.zeros_like(x) for name, x in memory.items()}
    found = remember()(empty, features, batch, 0)
    for m in ALL:
        np.testing.assert_array_equal(found[f"label_{m}"][ROWS], batch["label"])
        assert np.count_nonzero(found[f"label_{m}"]) == 4


@pytest.mark.parametrize("field", ["valid", "labelled"])
def test_rows_without_a_label_or_a_modality_are_written_nowhere(field):
    memory, features, batch = draw()
    batch[field] = np.array([True, False, True, True])
    batch["audio_mask"][0] = False
    found = remember()(memory, features, batch, 2)
    wanted = by_hand(memory, features, batch, 2, 3.0)
    for m in ALL:
        kept = [2, 7] if m == "audio" else [2]
        for name in (f"label_{m}", f"feature_{m}"):
            np.testing.assert_array_equal(found[name][kept], memory[name][kept])
            assert np.abs(found[f"feature_{m}"] - memory[f"feature_{m}"])[0].max() > 0
        if m != "fusion":  # the others are not told apart from a whole batch's
            label = found[f"label_{m}"][ROWS[2:]]
            np.testing.assert_allclose(label, wanted[m][2:], rtol=2e-5)


@pytest.mark.parametrize("m", ["fusion", "text"])
def test_a_class_without_a_row_leaves_the_labels(m):
    memory, features, batch = draw()
    memory[f"label_{m}"] = np.abs(memory[f"label_{m}"])
    found = remember()(memory, features, batch, 3)
    for other in ALL[1:]:
        same = np.array_equal(found[f"label_{other}"], memory[f"label_{other}"])
        assert same == (m in (other, "fusion"))
        np.testing.assert_array_equal(found[f"feature_{other}"][ROWS], features[other])


@pytest.mark.parametrize("exclude", [True, False])
def test_rows_labelled_zero(exclude):
    memory, _, _ = draw()
    model = SelfMM(SPEC, **TINY, exclude_zero=exclude)
    (positive, _), found = model.apply({"memory": memory}, "fusion", method="centres")
    rows = [0, 2, 5, 7, 9] if exclude else [0, 2, 4, 5, 7, 9]
    wanted = memory["feature_fusion"][rows].mean(0)
    np.testing.assert_allclose(positive, wanted, rtol=1e-6)
    assert found.all()


def test_the_memory_on_four_devices_is_that_on_one():
    memory, features, batch = draw(rows=8)
    batch["index"] = np.array([3, 9, 1, 6, 4, 8, 0, 0], np.int32)
    batch["label"] = memory["label_fusion"][batch["index"]]
    batch["valid"][7] = False
    model = SelfMM(SPEC, **TINY)

    def run(memory, features, batch, epoch):
        variables, told = {"memory": memory}, (features, batch, epoch)
        options = dict(method="remember", mutable=["memory"])
        return model.apply(variables, *told, **options)[1]["memory"]

    found = {}
    for count in (1, 4):
        devices = parallel.find_devices(count)
        compiled = parallel.compile(run, devices, in_axes=(None, 0, 0, None))
        dealt = (deal(features, count), deal(batch, count))
        found[count] = compiled(memory, *dealt, np.int32(2))
    for name, x in found[1].items():
        np.testing.assert_allclose(found[4][name], x, rtol=1e-5, err_msg=name)
        moved = np.abs(x - memory[name]).max() > 1e-3
        assert moved == (name != "label_fusion")


def deal(tree, devices):
    """Rows dealt to devices: [B, ...] -> [devices, B / devices, ...]."""
    return jax.tree.map(lambda x: x.reshape(devices, -1, *x.shape[1:]), tree)


def losses_of(epoch, **changes):
    memory, features, batch = draw()
    batch |= changes
    pred = {f"pred_{m}": np.float32([0.5, -1, 0, 2]) for m in ALL[1:]}
    out = pred | {"pred": np.float32([1, 1, -1, 0])}
    model = SelfMM(SPEC, **TINY)
    found = model.apply({"memory": memory}, out, batch, epoch, method="task_losses")
    return memory, out, batch, found


def test_losses_by_hand():
    memory, out, batch, found = losses_of(1)
    error = np.abs(out["pred"] - batch["label"])
    np.testing.assert_allclose(found["all"], error.mean(), rtol=1e-6)
    for m in ALL[1:]:
        label = memory[f"label_{m}"][ROWS]
        weight = np.tanh(np.abs(label - batch["label"]))
        wanted = (weight * np.abs(out[f"pred_{m}"] - label)).mean()
        np.testing.assert_allclose(found[m], wanted, rtol=1e-5)
    _, _, _, first = losses_of(0)
    assert first["all"] == found["all"]
    assert [first[m] for m in ALL[1:]] == [0, 0, 0]


def test_rows_without_a_modality_have_no_part_in_its_loss():
    mask = np.array([[True], [False], [True], [True]])
    memory, out, batch, found = losses_of(1, audio_mask=mask)
    label = memory["label_audio"][ROWS]
    values = np.tanh(np.abs(label - batch["label"])) * np.abs(out["pred_audio"] - label)
    np.testing.assert_allclose(found["audio"], values[[0, 2, 3]].mean(), rtol=1e-5)
    assert found["text"] == losses_of(1)[-1]["text"]


def train(tmp_path, name, stop_after=None):
    """The memories of two seeds after three epochs on two devices."""
    model = SelfMM(toys.SPEC, **TINY, pooling="mean")
    phase = Phase(
        epochs=3, batch_size=8, select="last", optimizer=Optimizer(learning_rate=1e-2)
    )
    data = toys.ours(tuple(parallel.find_devices(2)))
    folders = {seed: tmp_path / f"{name}_{seed}" for seed in (1, 2)}
    found = toys.train(model, [phase], data, folders, stop_after=stop_after)
    if stop_after:
        assert not found[0][0].finished
        return train(tmp_path, name)
    return [best.collections for _, best in found]


@pytest.mark.slow
def test_training_fills_the_memory_and_resumes_to_the_bit(tmp_path, quick_random):
    whole = train(tmp_path, "whole")
    label = toys.corpus().splits["train"].arrays["label"]
    assert len(label) % 8  # the last batch has filler rows
    for memory in whole:
        np.testing.assert_array_equal(memory["memory/label_fusion"], label)
        learned = np.asarray(memory["memory/label_text"])
        assert np.isfinite(learned).all() and np.abs(learned).max() <= 3
        assert np.mean(learned != label) > 0.9
        assert np.asarray(memory["memory/feature_audio"]).any(axis=1).mean() > 0.9
    assert (whole[0]["memory/label_text"] != whole[1]["memory/label_text"]).any()
    resumed = train(tmp_path, "resumed", stop_after=2)
    jax.tree.map(np.testing.assert_array_equal, whole, resumed)


@functools.cache
def shapes(**fields):
    spec = fields.pop("spec", SPEC)
    model = SelfMM(spec, **TINY, **fields)
    init = functools.partial(model.init, jax.random.key(0), spec.example(2))
    return model, jax.eval_shape(functools.partial(init, train=False))


def test_evaluation_leaves_the_memory():
    model = SelfMM(SPEC, **TINY)
    variables = step.variables(step.init(model, random_bits.key(0)))
    assert not any(x.any() for x in jax.tree.leaves(variables["memory"]))
    options = dict(train=False, progress={"epoch": 3}, method="loss")
    loss = jax.jit(functools.partial(model.apply, **options, mutable=["memory"]))
    (_, terms), after = loss(variables, SPEC.example(4))
    assert set(terms) == {"pred"}
    jax.tree.map(np.testing.assert_array_equal, after["memory"], variables["memory"])


def test_tasks_that_are_left_out_have_no_parameters():
    _, made = shapes(tasks=("audio",))
    assert {k for k in made["params"] if "post" in k} == {"post_fusion", "post_audio"}
    assert set(made["memory"]) == {
        f"{name}_{m}" for name in ("label", "feature") for m in ("fusion", "audio")
    }
    with pytest.raises(ValueError, match='"vison"; did you mean "vision"'):
        shapes(tasks=("vison",))


def test_classes_have_the_task_of_all_alone():
    spec = dataclasses.replace(SPEC, label_range=None, classes=("a", "b", "c"))
    model, made = shapes(spec=spec)
    assert "memory" not in made and "post_text" not in made["params"]
    assert made["params"]["post_fusion"]["layer_3"]["kernel"].shape == (3, 3)
    assert model.notes == ("classes have no sign: no modality has a task",)
    assert shapes()[0].notes == ()


@pytest.mark.parametrize(
    "encoder",
    [toys.BERT, toys.XLNET, toys.T5],
    ids=["bert", "xlnet", "t5"],
)
def test_the_text_is_the_step_of_the_encoders_cls(encoder, monkeypatch):
    """XLNet's ends the sequence; T5 has none, so that all steps count."""
    steps = np.random.default_rng(0).normal(size=(3, 4, 6)).astype(np.float32)
    mask = np.arange(4) < np.array([[2], [4], [1]])
    read = {"text": steps, "text_mask": mask}
    monkeypatch.setattr(self_mm, "text_steps", lambda *_, train: read)
    bound = SelfMM(SPEC, **TINY, encoder=encoder, tasks=()).bind({})
    found = bound._text({}, False)
    expected = {
        toys.BERT: steps[:, 0],
        toys.XLNET: steps[range(3), [1, 3, 0]],
        toys.T5: [rows[real].mean(0) for rows, real in zip(steps, mask, strict=True)],
    }
    np.testing.assert_allclose(found, expected[encoder], rtol=1e-6)
