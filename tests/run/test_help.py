"""--help-config: every option of every system has a meaning."""

import dataclasses

import pytest

from msajax import models
from msajax.run import help, recipe
from msajax.run.options import Options
from msajax.train.plan import Phase


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
