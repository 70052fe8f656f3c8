"""Losses of the epoch that validation chose, from histories as log.jsonl has them."""

import math

import pytest

from msajax.report import losses
from msajax.report.results import Results


def epoch(phase, loss, *, best, **terms):
    return {
        "phase": phase,
        "train_loss": loss,
        "valid_loss": loss + 1,
        "best": best,
        **{f"train_{name}": value for name, value in terms.items()},
    }


def results(**facts):
    return Results("x", "demo", (1, 2), {}, facts)


def test_the_last_best_epoch_counts_of_each_seed():
    history = {
        1: [epoch("main", 3.0, best=True), epoch("main", 2.0, best=True)],
        2: [epoch("main", 6.0, best=True), epoch("main", 9.0, best=False)],
    }
    assert losses.chosen(history) == {"train_loss": (4, 2), "valid_loss": (5, 2)}
    facts = dict(seconds_per_epoch=[1.0, 3.0], phase_seconds={"main": [8.0, 8.0]})
    found = losses.columns(results(**facts), history)
    assert found == {"loss": (5, 2), "epoch_seconds": (2, 1)}
    history[1][1]["valid_loss"] = None  # JSON has no NaN
    assert math.isnan(losses.chosen(history)["valid_loss"][0])


def test_of_an_evaluator_the_anchors_sum_their_terms():
    terms = dict(text_audio=0.25, text_vision=0.5, audio_text=1.0, vision_text=2.0)
    one = epoch("mce", 1.25, best=True, **terms)
    two = epoch("mce", 1.75, best=True, **(terms | {"text_audio": 0.75}))
    later = epoch("fuse", 9.0, best=True)
    history = {1: [one, later], 2: [two, later]}
    facts = dict(
        seconds_per_epoch=[1, 1], phase_seconds={"mce": [2, 4], "fuse": [1, 1]}
    )
    assert losses.columns(results(**facts), history) == {
        "loss": (1.5, 0.25),
        "loss_text": (1.0, 0.25),
        "loss_audio": (1, 0),
        "loss_vision": (2, 0),
        "epoch_seconds": (3, 1),
    }


@pytest.mark.parametrize("rows", [[], [epoch("main", 1.0, best=False)]])
def test_imported_weights_have_no_epochs(rows):
    assert losses.chosen({1: rows}) == losses.columns(results(), {1: rows}) == {}
