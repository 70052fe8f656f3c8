"""The help of --help-config: what it prints for the options of a recipe and of every system."""

import dataclasses
import re

import pytest

from msajax import models
from msajax.data import typed
from msajax.run import help, model_options, recipe
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


@pytest.mark.parametrize("system", models.names())
def test_every_option_has_a_meaning(system, monkeypatch):
    found = {}

    def entry(key, value, hint, meaning):
        found[key] = meaning
        return []

    monkeypatch.setattr(help, "_entry", entry)
    help.describe(Options(system=system))
    assert len(found) > 40 and "optimizer.plateau_factor" in found
    assert [key for key, meaning in found.items() if not meaning.strip()] == []


def test_every_key_of_a_phase_has_a_meaning():
    meanings = help._meanings(Phase)
    assert [f.name for f in dataclasses.fields(Phase) if not meanings.get(f.name)] == []


def test_meanings_of_fields_that_another_class_explains():
    text = help.describe(recipe.load("mfm:demo"))
    entry = text.partition("--config.model.memory=32\n")[2].partition("--config")[0]
    assert " ".join(entry.split()).startswith("width of the memory")
    text = help.describe(recipe.load("cormult:demo"))
    entry = text.partition("--config.model.dim=")[2].partition("--config")[0]
    assert "common width d of the modalities. (a whole" in " ".join(entry.split())
    assert "mappingproxy" not in text and "--config.phases=({'name': 'mce'" in text
