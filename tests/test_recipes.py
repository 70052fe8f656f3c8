"""Every recipe of configs/ has the values recorded in recipes.json.

recipes.json has one line per recipe: what it changes of the options' defaults, which are the
first line, or, for a row, what it changes of its data set's recipe. When a recipe is new, or a
recipe or a default is changed on purpose, write the file again and review its diff:

    PYTHONPATH=. python tests/test_recipes.py > tests/recipes.json; git diff tests/recipes.json

A system without a record fails: one that is skipped may never be recorded.
"""

import functools
import json
import pathlib

import pytest

from msajax import models
from msajax.run import recipe, saved
from msajax.run.options import Options

# Recipes that `recipe.names` does not list, since their rows have numbers.
NUMBERED = (
    "cormult:mosei/t64_o200",
    "iml_cmm:demo/weights_7",
    "iml_cmm:mosi/weights_0",
    "iml_cmm:mosi/weights_7",
)

module = functools.cache(recipe._import)


def flat(options):
    """The options as {'section.key': value}, with values as JSON has them."""
    found = {}
    for key, value in json.loads(json.dumps(saved.to_dict(options))).items():
        values = value if isinstance(value, dict) else {"": value}
        found |= {f"{key}.{name}".rstrip("."): v for name, v in values.items()}
    return found


def made(name):
    system, _, argument = name.partition(":")
    return flat(module(recipe.home() / f"{system}.py").get_config(argument))


def base_of(name, recorded):
    """What a recipe's line is relative to: the defaults and, for a row, its data set's line."""
    parent, _, row = name.partition("/")
    return recorded["defaults"] | (recorded[parent] if row else {})


def read():
    return json.loads(pathlib.Path(__file__).with_name("recipes.json").read_text())


@pytest.mark.parametrize("system", models.names())
def test_recipes_are_the_recorded_ones(system):
    recorded = read()
    names = [name for name in recorded if name.startswith(f"{system}:")]
    assert names, (
        f"the recipes of {system} are not recorded; run PYTHONPATH=. python "
        "tests/test_recipes.py > tests/recipes.json, and review its diff"
    )
    for name in names:
        assert made(name) == base_of(name, recorded) | recorded[name], name


def test_names_are_the_recorded_ones():
    assert {*recipe.names(), *NUMBERED} == read().keys() - {"defaults"}


def write():
    """Prints recipes.json anew."""
    defaults = flat(Options(system="lf_dnn"))
    del defaults["system"]
    recorded = {"defaults": defaults}
    for name in sorted((*recipe.names(), *NUMBERED)):  # a data set before its rows
        base = base_of(name, recorded).items()
        recorded[name] = {k: v for k, v in made(name).items() if (k, v) not in base}
    lines = (
        f"{json.dumps(name)}: {json.dumps(values, sort_keys=True)}"
        for name, values in recorded.items()
    )
    print("{\n" + ",\n".join(lines) + "\n}")


if __name__ == "__main__":
    write()
