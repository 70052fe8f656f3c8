"""One place says with which options a system computes what its reference does: its table's module."""

import ast
import dataclasses
import inspect
import re

import pytest

from msajax import models, weights
from tools import parity
from tools.parity import replay


def _systems():
    """Those with a table of PyTorch names."""
    for name in models.names():
        try:
            weights.reference_form(name)
        except ValueError:
            continue
        yield name


SYSTEMS = tuple(_systems())


def _literals(module, fields, own):
    """Fields other than dropouts that a module gives the system as literals, by name."""
    for call in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name):
            kind = getattr(module, call.func.id, None)
            if kind is own or (isinstance(kind, type) and issubclass(kind, own)):
                for keyword in call.keywords:
                    try:
                        ast.literal_eval(keyword.value)
                    except ValueError:
                        continue
                    # `remat` changes how a system runs, not what it computes.
                    if keyword.arg in fields and not re.search(
                        "dropout|remat", keyword.arg
                    ):
                        yield keyword.arg


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_replay_of_a_system_takes_the_options_of_the_reference_from_its_table(
    system,
):
    """Its other options are the case's."""
    module, own = parity.get(system), models.get(system)
    fields = {field.name for field in dataclasses.fields(own)}
    assert list(_literals(module, fields, own)) == []
    source = inspect.getsource(module)
    if "multi_task(" in source:
        source, taken = inspect.getsource(replay.multi_task), "system.system()"
    else:
        taken = f'"{system}"'
    asks = f"reference_form({taken})" in source
    assert asks == bool(weights.reference_form(system))


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_form_of_the_reference_changes_defaults(system):
    form = weights.reference_form(system)
    defaults = {f.name: f.default for f in dataclasses.fields(models.get(system))}
    assert form.keys() <= defaults.keys()
    assert all(defaults[name] != value for name, value in form.items())
    # No reference of a system that has this option knows lengths.
    assert form.get("padded", False) == ("padded" in defaults)


@pytest.mark.parametrize(
    "system,form",
    [
        ("almt", {"padded": True}),
        ("cormult", {"padded": True, "counted_pos": True}),
        ("mfon", {"padded": True, "fairseq_zero_pos": True}),
        ("misa", {"text_lengths": True}),
    ],
)
def test_quirks_that_the_docstrings_name_are_in_the_form(system, form):
    assert weights.reference_form(system) == form
