"""The trainer on a toy system: phases, freezing, exact resume, devices, bad recipes."""

import dataclasses
import functools
import math
from typing import Any

import chex
import flax.linen as nn
import jax
import numpy as np
import pytest

from msajax import parallel
from msajax.data import loader
from msajax.nn.linear import uniform
from msajax.train import checkpoint, feed, step
from msajax.train.optim import Optimizer
from msajax.train.plan import Phase
from tests import toys

SGD = Optimizer(name="sgd", learning_rate=0.1)
PHASES = (
    Phase(
        name="teach",
        loss="teacher_loss",
        predict="teacher_pred",
        train=".*teacher.*",
        epochs=2,
        batch_size=4,
        optimizer=SGD,
    ),
    Phase(name="main", train="student.*|memory.*", epochs=3, batch_size=4),
)


def fit(folder, phases=PHASES, **options):
    """Trains the toy with one seed; returns (book, best state or None)."""
    seed = options.pop("seed", 1)
    ((book, best),) = fit_seeds({seed: folder}, phases, **options)
    return book, best


def fit_seeds(
    folders,
    phases=PHASES,
    *,
    devices=1,
    stop_after=None,
    cycles=1,
    resident=True,
    buckets=1,
    precision="float32",
    save_seconds=math.inf,
    **model,
):
    """Trains the toy with seeds {seed: folder} at once; returns (book, best state or None) of each."""
    used = parallel.find_devices(devices)
    return toys.train(
        toys.Toy(spec=toys.SPEC, **model),
        phases,
        toys.ours(tuple(used), resident=resident, buckets=buckets),
        folders,
        stop_after=stop_after,
        cycles=cycles,
        precision=precision,
        save_seconds=save_seconds,
    )


def same(a, b):
    return jax.tree.all(jax.tree.map(np.array_equal, a, b))


def start(seed=1):
    return step.init(toys.Toy(spec=toys.SPEC), jax.random.key(seed))


def test_a_phase_moves_only_what_it_trains(tmp_path):
    _, taught = fit(tmp_path / "one", PHASES[:1])
    _, best = fit(tmp_path / "two", PHASES)
    before = start()
    for path, value in taught.params.items():
        moved = not (value == before.params[path]).all()
        assert moved == ("teacher" in path and "norm" not in path), path
    # The last phase leaves the teacher and its statistics as they were, to the bit.
    frozen = {k: v for k, v in taught.params.items() if "teacher" in k}
    assert same(frozen, {k: best.params[k] for k in frozen})
    statistics = {k: v for k, v in taught.collections.items() if "batch_stats" in k}
    assert statistics and same(statistics, {k: best.collections[k] for k in statistics})
    assert not same(statistics, {k: before.collections[k] for k in statistics})
    assert not (
        best.params["student/layers_0/kernel"]
        == before.params["student/layers_0/kernel"]
    ).all()


@pytest.mark.parametrize(
    "train_regex,groups,moves",
    [
        ("(teacher|norm_teacher)/.*", (), True),
        (".*", (("norm_teacher/.*", None), (".*", {})), False),
    ],
)
def test_statistics_move_with_their_module(tmp_path, train_regex, groups, moves):
    optimizer = Optimizer(name="sgd", learning_rate=0.1, groups=groups)
    phase = dict(name="a", loss="teacher_loss", predict="teacher_pred", epochs=1)
    phase = Phase(**phase, batch_size=4, train=train_regex, optimizer=optimizer)
    _, best = fit(tmp_path, (phase,))
    before = start().collections["batch_stats/norm_teacher/mean"]
    after = best.collections["batch_stats/norm_teacher/mean"]
    assert bool((after != before).all()) == moves


def test_an_epoch_records_the_norms_of_gradients_and_updates(tmp_path, monkeypatch):
    # With SGD an update is 0.1 of the gradient.
    phase = Phase(epochs=1, batch_size=22, optimizer=SGD, select="last")
    phase = dataclasses.replace(phase, train="student.*")
    book, best = fit(tmp_path / "one", (phase,), rate=0.0)
    moved = {k: best.params[k] - x for k, x in start().params.items()}
    step_size = math.sqrt(sum(float((x**2).sum()) for x in moved.values()))
    (row,) = book.history
    assert row["train_grad_norm"] == pytest.approx(10 * step_size, rel=1e-4)
    assert row["train_update_norm"] == pytest.approx(step_size, rel=1e-4)
    # Two batches of an update: that of the second is measured, not the 0 of the first.
    twice = dataclasses.replace(phase, batch_size=11, accumulate=2)
    book, best = fit(tmp_path / "two", (twice,), rate=0.0)
    moved = {k: best.params[k] - x for k, x in start().params.items()}
    step_size = math.sqrt(sum(float((x**2).sum()) for x in moved.values()))
    assert book.history[0]["train_update_norm"] == pytest.approx(step_size, rel=1e-4)
    # Of several steps those that are measured count: here the first of six.
    halves = dataclasses.replace(phase, batch_size=4, epochs=1)
    book, _ = fit(tmp_path / "six", (halves,), rate=0.0)
    assert 0 < book.history[0]["train_grad_norm"] < 10


def test_every_row_is_seen_once_an_epoch(tmp_path):
    last = Phase(epochs=3, batch_size=4, select="last", train="student.*|memory.*")
    _, best = fit(tmp_path, (last,))
    np.testing.assert_array_equal(best.collections["memory/seen"], np.full(22, 3.0))


@pytest.mark.parametrize("stop_after", [1, 2, 3, 4, 7])  # 7: in the second phase
def test_resume_is_exact(tmp_path, stop_after, monkeypatch):
    monkeypatch.setattr(feed, "_STEPS", 4)  # several saves within an epoch
    whole, best = fit(tmp_path / "whole")
    part, _ = fit(tmp_path / "cut", stop_after=stop_after, save_seconds=0.0)
    assert not part.finished
    resumed, again = fit(tmp_path / "cut")
    assert same(best, again)
    assert resumed.history == whole.history


def test_a_phase_may_have_rows_of_its_own_without_labels(tmp_path, monkeypatch):
    monkeypatch.setattr(feed, "_STEPS", 1)
    more = toys.SPEC.example(13, seed=30)
    more = {k: v for k, v in more.items() if k not in ("index", "valid", "label")}
    devices = tuple(parallel.find_devices(1))
    source = feed.source(loader.parts(more, 1), devices, resident=True)
    data = dataclasses.replace(toys.ours(devices), phases={"more.npz": source})
    spread = dict(loss="spread_loss", data="more.npz", epochs=1)
    phases = [dataclasses.replace(PHASES[0], **spread)]
    train = functools.partial(toys.train, toys.Toy(spec=toys.SPEC), phases, data)
    ((book, best),) = train({1: tmp_path / "whole"})
    assert book.history[0]["phase"] == "teach" and len(book.history) == 1
    before = start().params["teacher/kernel"]
    assert not same(best.params["teacher/kernel"], before)
    ((part, _),) = train({1: tmp_path / "part"}, stop_after=3)
    assert part.step == 3 and not part.finished  # of 4: 13 rows, 4 in a batch
    ((again, resumed),) = train({1: tmp_path / "part"})
    assert again.history == book.history and same(resumed, best)


@pytest.mark.parametrize("save", [1, 2, 5])
def test_a_kill_within_a_save_is_survived(tmp_path, save, monkeypatch):
    _, best = fit(tmp_path / "whole")
    calls = []

    def killed(folder):
        calls.append(1)
        if len(calls) == save:  # the arrays are written, their folder is not in place
            raise KeyboardInterrupt
        return checksums(folder)

    checksums = checkpoint._checksums
    monkeypatch.setattr(checkpoint, "_checksums", killed)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "cut", save_seconds=0.0)
    monkeypatch.setattr(checkpoint, "_checksums", checksums)
    _, again = fit(tmp_path / "cut")
    assert same(best, again)


def test_cycles_keep_the_optimizer_states(tmp_path, monkeypatch):
    phases = tuple(
        Phase(
            name=p.name,
            loss=p.loss,
            predict=p.predict,
            train=p.train,
            epochs=1,
            batch_size=4,
        )
        for p in PHASES
    )
    book, best = fit(tmp_path / "whole", phases, cycles=3)
    assert [row["phase"] for row in book.history] == ["teach", "main"] * 3
    monkeypatch.setattr(feed, "_STEPS", 3)
    fit(tmp_path / "cut", phases, cycles=3, stop_after=7)
    resumed, again = fit(tmp_path / "cut", phases, cycles=3)
    assert resumed.history == book.history and same(best, again)


def test_four_devices_equal_one(tmp_path):
    # The programs of `test_a_run_goes_on_with_other_devices`
    phases = [dataclasses.replace(p, batch_size=8, optimizer=SGD) for p in PHASES]
    one, best = fit(tmp_path / "1", phases, devices=1, rate=0.0)
    four, again = fit(tmp_path / "4", phases, devices=4, rate=0.0)
    for path, value in best.params.items():
        np.testing.assert_allclose(value, again.params[path], atol=1e-6, err_msg=path)
    for a, b in zip(one.history, four.history, strict=True):
        assert a["valid_loss"] == pytest.approx(b["valid_loss"], abs=1e-6)
        assert a["train_loss"] == pytest.approx(b["train_loss"], abs=1e-6)


SEEDS = (1, 2, 3)


def history_is_near(one, other):
    """Whether two books tell the same but for rounding."""
    for a, b in zip(one.history, other.history, strict=True):
        assert a.keys() == b.keys()
        for key, value in a.items():
            if isinstance(value, float):
                assert b[key] == pytest.approx(value, abs=2e-5, nan_ok=True), key
            else:
                assert b[key] == value, key


@pytest.mark.parametrize(
    "options",
    [
        {},
        pytest.param({"devices": 2}, marks=pytest.mark.slow),
        pytest.param({"resident": False}, marks=pytest.mark.slow),
        pytest.param({"buckets": 2}, marks=pytest.mark.slow),
        {"resident": False, "devices": 2},
    ],
    ids=str,
)
def test_seeds_at_once_equal_seeds_alone(tmp_path, options):
    # Patience lets the seeds end their phases after different numbers of epochs.
    phases = [
        dataclasses.replace(p, batch_size=8, epochs=6, patience=1, optimizer=SGD)
        for p in PHASES
    ]
    alone = [fit(tmp_path / f"{s}", phases, seed=s, **options) for s in SEEDS]
    folders = {s: tmp_path / f"at_once_{s}" for s in SEEDS}
    at_once = fit_seeds(folders, phases, **options)
    assert len({len(book.history) for book, _ in alone}) > 1
    for (book, best), (same_book, same_best) in zip(alone, at_once, strict=True):
        history_is_near(book, same_book)
        for path, value in (best.params | best.collections).items():
            other = (same_best.params | same_best.collections)[path]
            np.testing.assert_allclose(value, other, atol=2e-5, err_msg=path)


@pytest.mark.parametrize(
    "stop_after", [2, *(pytest.param(n, marks=pytest.mark.slow) for n in (7, 9))]
)
def test_seeds_at_once_resume_to_the_bit(tmp_path, stop_after, monkeypatch):
    monkeypatch.setattr(feed, "_STEPS", 4)
    whole = fit_seeds({s: tmp_path / f"whole_{s}" for s in SEEDS})
    folders = {s: tmp_path / f"cut_{s}" for s in SEEDS}
    fit_seeds(folders, stop_after=stop_after, save_seconds=0.0)
    for (book, best), (again, same_best) in zip(whole, fit_seeds(folders), strict=True):
        assert again.history == book.history and same(best, same_best)


def test_seeds_at_different_places_catch_up(tmp_path):
    folders = {s: tmp_path / f"cut_{s}" for s in SEEDS}
    fit(folders[2], seed=2, stop_after=4)  # in the second phase; 1 and 3 not begun
    made = fit_seeds(folders)
    for seed, (book, best) in zip(SEEDS, made, strict=True):
        alone, same_best = fit(tmp_path / f"{seed}", seed=seed)
        history_is_near(alone, book)
        for path, value in best.params.items():
            np.testing.assert_allclose(value, same_best.params[path], atol=2e-5)


def test_streamed_equals_resident(tmp_path, monkeypatch):
    resident, best = fit(tmp_path / "resident")
    monkeypatch.setattr(feed, "_BYTES", 3000)  # two or three steps at a time
    streamed, same_best = fit(tmp_path / "streamed", resident=False)
    assert streamed.history == resident.history and same(best, same_best)


def test_a_chunk_equals_single_steps(tmp_path, monkeypatch):
    whole, best = fit(tmp_path / "chunk")
    monkeypatch.setattr(feed, "_STEPS", 1)
    single, same_best = fit(tmp_path / "single")
    assert single.history == whole.history and same(best, same_best)


@pytest.mark.parametrize("before,after", [(1, 4), (4, 1), (2, 4)])
def test_a_run_goes_on_with_other_devices(tmp_path, before, after):
    phases = [dataclasses.replace(p, batch_size=8, optimizer=SGD) for p in PHASES]
    whole, best = fit(tmp_path / "whole", phases, rate=0.0)
    fit(tmp_path / "cut", phases, rate=0.0, devices=before, stop_after=3)
    book, again = fit(tmp_path / "cut", phases, rate=0.0, devices=after)
    history_is_near(whole, book)
    for path, value in best.params.items():
        np.testing.assert_allclose(value, again.params[path], atol=1e-6, err_msg=path)


def test_bfloat16_computes_roughly_the_same_from_float32_parameters(tmp_path):
    phase = dataclasses.replace(PHASES[1], batch_size=8, optimizer=SGD)
    full, best = fit(tmp_path / "full", (phase,), rate=0.0)
    half, rough = fit(tmp_path / "half", (phase,), rate=0.0, precision="bfloat16")
    losses = [[row["train_loss"] for row in book.history] for book in (full, half)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=0.03)
    assert losses[0] != losses[1]
    for path, value in best.params.items():
        assert rough.params[path].dtype == np.float32
        np.testing.assert_allclose(value, rough.params[path], atol=0.02, err_msg=path)


def test_training_lowers_the_loss(tmp_path):
    adam = Optimizer(learning_rate=0.03)
    book, _ = fit(
        tmp_path,
        (
            Phase(
                epochs=30, batch_size=8, patience=0, optimizer=adam, train="student.*"
            ),
        ),
        rate=0.0,
    )
    assert book.history[-1]["train_loss"] < 0.7 * book.history[0]["train_loss"]


@pytest.mark.parametrize("epochs", [0, 2])
def test_a_loss_that_is_not_finite_stops_the_seed(tmp_path, epochs):
    phase = Phase(epochs=4, batch_size=11, train="student.*")
    book, best = fit(tmp_path, (phase,), finite_epochs=epochs)
    assert book.finished and len(book.history) == epochs
    assert f"the loss became nan at step 1 of epoch {epochs + 1}" in book.stopped
    # What validation chose before stays.
    assert (best is not None) == (epochs > 0)
    if best:
        assert all(np.isfinite(value).all() for value in best.params.values())


@pytest.mark.parametrize(
    "phase,message",
    [
        (
            Phase(loss="teacher_lss"),
            'names the method "teacher_lss", which Toy does not have; did you mean "teacher_loss"',
        ),
        (
            Phase(select="accc7"),
            'unknown metric "accc7" in select; did you mean "acc7"',
        ),
        (Phase(train="nothing.*"), 'phase "main" trains nothing: the regex "nothing'),
        (Phase(train="student"), 'must match the whole name, as "gate/'),
        (Phase(batch_size=40), "batch_size is 40, but the split has only 22 rows"),
    ],
)
def test_wrong_recipes_are_errors(tmp_path, phase, message):
    with pytest.raises(ValueError, match=message):
        fit(tmp_path, (phase,))


def test_a_batch_that_does_not_divide_names_those_that_do(tmp_path):
    with pytest.raises(
        ValueError,
        match="6 rows does not divide among 4 devices; set config.train.batch_size to 4 or 8",
    ):
        fit(tmp_path, (Phase(batch_size=6),), devices=4)


@pytest.mark.parametrize(
    ("outputs", "classes", "message"),
    [
        (lambda x: x, (), "Given.__call__ returns an array; return a dict"),
        (
            lambda x: {"prediction": x},
            (),
            "returns a dict of prediction; return a dict",
        ),
        (
            lambda x: {"pred": x},
            (),
            r"of shape \(2, 1\) for 2 rows, but .* \(2,\); let",
        ),
        (lambda x: {"pred": x}, ("a", "b"), r"of shape \(2, 1\) .* return \(2, 2\)"),
    ],
)
def test_outputs_that_are_none(outputs, classes, message):
    class Given(toys.Model):
        def __call__(self, batch, *, train):
            return outputs(batch["valid"][:, None])

    spec = dataclasses.replace(toys.SPEC, label_range=None, classes=classes)
    with pytest.raises(ValueError, match=message):
        step.shapes(Given(spec))


@pytest.mark.parametrize(
    "accumulate,alternate",
    [pytest.param(1, False, marks=pytest.mark.slow), (2, False), (1, True)],
    ids=str,
)
def test_the_average_of_the_parameters_is_evaluated_and_kept(
    tmp_path, accumulate, alternate
):
    def run(name, *, count, ema, seeds=(1,), **options):
        # Each phase has one update in an epoch.
        kind: Any = dict(select="last", optimizer=SGD, ema=ema)
        kind |= dict(batch_size=22 // accumulate, accumulate=accumulate)
        phases = [Phase(name="one", epochs=count, **kind)]
        if alternate:
            phases = [dataclasses.replace(p, epochs=1, **kind) for p in PHASES]
        options |= dict(cycles=count if alternate else 1, rate=0.0)
        folders = {seed: tmp_path / f"{name}_{seed}" for seed in seeds}
        return fit_seeds(folders, phases, **options)[0]

    def params(name, **options):
        return run(name, **options)[1].params

    mean = start().params
    for count, share in enumerate((0.1, 2 / 11), 1):
        now = params(f"plain_{count}", count=count, ema=0.0)
        mean = {k: share * mean[k] + (1 - share) * x for k, x in now.items()}
    found = params("averaged", count=2, ema=0.9)
    for name, value in mean.items():
        np.testing.assert_allclose(found[name], value, atol=1e-6, err_msg=name)
    for part in ("student", "teacher") if alternate else ("student",):
        names = [k for k in found if k.startswith(part)]
        assert not same([found[k] for k in names], [now[k] for k in names])
    # The average is part of a checkpoint.
    assert not run("cut", count=2, ema=0.9, stop_after=1)[0].finished
    assert same(params("cut", count=2, ema=0.9), found)
    if alternate:
        several = params("several", count=2, ema=0.9, seeds=(1, 2))
        for name, value in several.items():
            np.testing.assert_allclose(found[name], value, atol=2e-6, err_msg=name)


def test_the_options_of_init_change_no_bit():
    def draw(key):
        return uniform(7)(key, (64,)), nn.initializers.lecun_normal()(key, (9, 7))

    def drawn(options):
        return jax.jit(draw, compiler_options=options)(jax.random.key(3))

    full = drawn({"xla_backend_optimization_level": 3})
    chex.assert_trees_all_equal(drawn(step.ONCE), full)
