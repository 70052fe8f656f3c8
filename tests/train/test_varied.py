"""Trainings at once that differ in continuous options, against the same trainings alone."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from msajax import parallel
from msajax.models.base import Model
from msajax.train import optim, varied
from msajax.train.optim import Optimizer
from msajax.train.plan import Phase
from tests import toys


class Shrunk(Model, kw_only=True):
    """A linear system whose initial values, and whose loss in both splits, depend on numbers."""

    weight: float = 0.0
    spread: float = 0.1

    @nn.compact
    def __call__(self, batch, *, train):
        first = nn.initializers.normal(self.spread)
        text = batch["text"].mean(1)
        return {"pred": nn.Dense(1, kernel_init=first, name="out")(text)[:, 0]}

    def loss(self, batch, *, train, progress):
        pred = self(batch, train=train)["pred"]
        size = parallel.batch_mean(pred**2, where=batch["valid"])
        return self.task_loss(pred, batch) + self.weight * size, {"size": size}


# The values of each lane; the last one is the first with another seed.
SEEDS = (1, 1, 2)
LANES = {
    "optimizer.learning_rate": (1e-2, 3e-3, 1e-2),
    "optimizer.weight_decay": (0.0, 0.1, 0.0),
    "model.weight": (0.0, 0.7, 0.0),
    "model.spread": (0.1, 0.5, 0.1),
}
PHASES = (
    Phase(
        epochs=4,
        batch_size=8,
        patience=1,
        optimizer=Optimizer(
            name="adamw",
            schedule="warmup_linear",
            warmup=0.2,
            # The bias has a rate of its own in every lane.
            groups=((".*bias", {"learning_rate": 0.02}), (".*", {})),
        ),
    ),
)


def with_values(i):
    """System and phases of a lane, as a recipe with its values has them."""
    own = {key: lane[i] for key, lane in LANES.items()}
    model = {k.removeprefix("model."): v for k, v in own.items() if "model." in k}
    rule = {k.removeprefix("optimizer."): v for k, v in own.items() if "optim" in k}
    phases = [
        dataclasses.replace(p, optimizer=dataclasses.replace(p.optimizer, **rule))
        for p in PHASES
    ]
    return Shrunk(spec=toys.SPEC, **model), phases


def train(folders, data, **options):
    return toys.train(Shrunk(spec=toys.SPEC), PHASES, data, folders, **options)


@pytest.fixture
def data():
    return toys.ours(tuple(parallel.find_devices(1)))


def test_lanes_equal_the_same_trainings_alone(tmp_path, data):
    folders = {f"lane_{i}": tmp_path / f"{i}" for i in range(len(SEEDS))}
    made = train(folders, data, seeds=SEEDS, values=LANES)
    for i, (book, best) in enumerate(made):
        system, phases = with_values(i)
        folder = {SEEDS[i]: tmp_path / f"alone_{i}"}
        ((alone, same_best),) = toys.train(system, phases, data, folder)
        assert len(book.history) == len(alone.history)
        for ours, theirs in zip(book.history, alone.history, strict=True):
            assert ours == pytest.approx(theirs, abs=2e-5)
        for path, value in best.params.items():
            np.testing.assert_allclose(value, same_best.params[path], atol=2e-5)
    finals = [book.history[-1]["valid_loss"] for book, _ in made]
    assert len({round(x, 4) for x in finals}) == 3


def test_a_lane_that_is_pruned_leaves_the_others_alone(tmp_path, data):
    folders = {f"lane_{i}": tmp_path / f"{i}" for i in range(len(SEEDS))}
    whole = train(folders, data, seeds=SEEDS, values=LANES)

    def prune(i, book):
        return "worse than others" if i == 1 and len(book.history) == 2 else ""

    folders = {f"lane_{i}": tmp_path / f"pruned_{i}" for i in range(len(SEEDS))}
    options = dict(seeds=SEEDS, values=LANES, prune=prune)
    books = [book for book, _ in train(folders, data, **options)]
    assert books[1].stopped == "worse than others" and books[1].finished
    assert [len(b.history) for b in books][1] == 2
    for i in (0, 2):
        assert books[i].history == whole[i][0].history
    # Its checkpoint says so, too.
    again = [book for book, _ in train(folders, data, **options)]
    assert again[1].stopped == "worse than others"


@pytest.mark.parametrize("name", ["adam", "adamw", "amsgrad", "sgd"])
@pytest.mark.parametrize("schedule", ["constant", "warmup_linear", "warmup_cosine"])
def test_values_stand_in_place_of_the_settings(name, schedule):
    settings = dict(learning_rate=0.3, weight_decay=0.2)
    options = dict(updates=8, accumulate=1)
    rule = Optimizer(name=name, schedule=schedule, clip_norm=1.0)

    def values(made):
        params = {"w": jnp.arange(3.0)}
        state, found = made.init(params), []
        for i in range(3):
            updates, state = made.update({"w": jnp.ones(3) * i}, state, params)
            params = jax.tree.map(jnp.add, params, updates)
            found.append(params["w"])
        return np.stack(found)

    fixed = optim.build(dataclasses.replace(rule, **settings), {"w": 0}, **options)
    given = optim.build(rule, {"w": 0}, **options, values=settings)
    np.testing.assert_array_equal(values(given), values(fixed))


def test_a_system_without_values_is_the_same_object():
    system = Shrunk(spec=toys.SPEC)
    assert varied.model(system, {"optimizer.learning_rate": jnp.ones(())}) is system
    assert varied.model(system, {"model.weight": 2.0}).weight == 2.0
