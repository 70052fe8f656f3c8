"""The help of --help-config: what it prints for the options of a recipe and of every system."""

import re

import pytest

from msajax import models
from msajax.run import help, model_options, typed
from msajax.run.options import (
    CheckpointOptions,
    DataOptions,
    Options,
    ParallelOptions,
    TextOptions,
    TrainOptions,
)
from msajax.train.optim import Optimizer
from msajax.train.plan import Phase

# Each entry stands alone below its key, so it says what the value is: a noun, or a verb.
FRAGMENT = re.compile(
    r"(at most|before|between|by|for|in|inside|of|on|that|to|under|where|whose)\b"
    r"|these |.*\b(of|behind|before|in front of) (it|them|that|those|theirs)\b[^ ]"
    r"|see there|\w+'s\.$"
)
SECTIONS = (
    *(DataOptions, TextOptions, TrainOptions, ParallelOptions, CheckpointOptions),
    *(Options, Optimizer, Phase),
)


@pytest.mark.parametrize("kind", SECTIONS)
def test_options_say_what_they_are(kind):
    meanings = help._meanings(kind)
    assert meanings
    found = {name: meanings.get(name, "") for name in typed.hints_of(kind)}
    assert {k: v for k, v in found.items() if FRAGMENT.match(v)} == {}


@pytest.mark.parametrize("system", models.names())
def test_fields_of_systems_say_what_they_are(system):
    meanings = help._meanings(models.get(system))
    found = {name: meanings.get(name, "") for name in model_options.fields(system)}
    assert {k: v for k, v in found.items() if FRAGMENT.match(v)} == {}


@pytest.mark.parametrize(
    "text",
    (
        "of every attention.",
        "that the system sees.",
        "at most.",
        "Adam's.",
        "dropout rates in front of them.",
        "width of those.",
    ),
)
def test_a_fragment_is_found(text):
    assert FRAGMENT.match(text)
