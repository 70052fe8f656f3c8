"""Patience, plateau, phases and cycles: what comes after an epoch."""

import math

import numpy as np
import pytest

from msajax.train.optim import Optimizer
from msajax.train.plan import Book, Phase


def play(phases, losses, *, cycles=1):
    """Feeds validation losses to a fresh book until it is finished; returns it and its path."""
    book, path = Book(), []
    for loss in losses:
        if book.finished:
            break
        path.append(
            (
                book.cycle,
                phases[book.phase].name,
                book.epoch,
                book.lr_scale(phases[book.phase]),
            )
        )
        book.record({"loss": np.array([loss, loss])})
        better = book.best is None or loss < book.best
        improved = book.selects(phases, cycles) and better
        book.end_epoch(phases, cycles, {"loss": loss}, improved)
    return book, path


def test_patience_ends_a_phase():
    book, path = play([Phase(epochs=10, patience=2)], [3, 2, 2.5, 2.5, 1, 1])
    assert book.finished and len(path) == 4
    assert [row["best"] for row in book.history] == [True, True, False, False]
    assert book.best == 2 and book.history[1]["train_loss"] == 2


def test_the_seconds_of_each_epoch_add_up():
    book, phase = Book(), Phase(epochs=3)
    for seconds in (4.0, 1.0, 1.5):
        book.seconds += seconds
        book.record({"loss": np.ones(1)})
        book.end_epoch([phase], 1, {"loss": 1.0}, True)
    assert book.epoch_seconds == [4.0, 1.0, 1.5]


def test_phases_follow_each_other_with_fresh_figures():
    phases = [Phase(name="a", epochs=2), Phase(name="b", epochs=1)]
    book, path = play(phases, [1, 2, 5, 5])
    assert [p[1:3] for p in path] == [("a", 0), ("a", 1), ("b", 0)]
    assert book.finished and book.best == 5


def test_cycles_alternate_and_select_once_each():
    phases = [Phase(name="a", epochs=1), Phase(name="b", epochs=1, patience=2)]
    book, path = play(phases, [9, 3, 9, 2, 9, 4, 9, 4, 9, 1], cycles=5)
    assert [p[:2] for p in path[:4]] == [(0, "a"), (0, "b"), (1, "a"), (1, "b")]
    # Best 2 in the second cycle, then two cycles without a better figure.
    assert book.finished and book.best == 2 and len(path) == 8


def test_plateau_lowers_the_rate_after_more_than_its_patience():
    optimizer = Optimizer(schedule="plateau", plateau_patience=1, plateau_factor=0.1)
    phase = Phase(epochs=6, patience=0, optimizer=optimizer)
    # 1.99995 is no improvement: the threshold is 1e-4 relative.
    book, path = play([phase], [2, 1.99995, 3, 3, 3, 3])
    scales = [p[3] for p in path]
    np.testing.assert_allclose(scales, [1, 1, 1, 0.1, 0.1, 0.01], rtol=1e-6)


def test_a_loss_that_is_not_finite_stops_the_seed():
    book = Book(epoch=4)
    book.record({"loss": np.array([0.5, 0.25, math.nan, 1.0])})
    assert book.finished
    assert "nan at step 3 of epoch 5 (last finite loss: 0.25)" in book.stopped


def test_no_finite_figure_stops_the_seed():
    phases = [Phase(epochs=1), Phase(name="b", epochs=1)]
    book = Book()
    book.record({"loss": np.array([1.0])})
    book.end_epoch(phases, 1, {"loss": math.nan}, False)
    assert book.finished and book.best is None
    assert book.stopped == 'phase "main" had no finite validation figure'


@pytest.mark.parametrize("key", ["epochs", "batch_size", "accumulate"])
def test_phase_values_must_be_positive(key):
    with pytest.raises(
        ValueError, match=f"config.phases.{key} is 0, but must be above 0"
    ):
        Phase(**{key: 0})


def test_a_plateau_belongs_to_its_phase():
    optimizer = Optimizer(schedule="plateau", plateau_patience=0)
    phases = [
        Phase(name="a", epochs=1),
        Phase(name="b", epochs=1, patience=0, optimizer=optimizer),
    ]
    _, path = play(phases, [1.0] * 6, cycles=3)
    assert [p[3] for p in path if p[1] == "a"] == [1, 1, 1]
    np.testing.assert_allclose([p[3] for p in path if p[1] == "b"], [1, 1, 0.1])
