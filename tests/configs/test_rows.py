"""Rows of ablations: named, and joined one after another."""

import itertools
import re

import pytest

from msajax.run import recipe
from tests.test_recipes import made

# A data set of each system that has rows: the first with rows, but for those below.
JOINED = {
    system: argument.partition("/")[0]
    for system, _, argument in (n.partition(":") for n in reversed(recipe.names()))
    if "/" in argument
}
KNOWN = {
    "alr": "mosei",
    "cormult": "mosei",
    "iml_cmm": "simsv2",
    "mfon": "sims",
    "misa": "mosi",
    "msg_mba": "mosi",
    "self_mm": "sims",
}


JOINED |= KNOWN


def rows_of(system):
    start = f"{system}:{JOINED[system]}/"
    return [n.removeprefix(start) for n in recipe.names() if n.startswith(start)]


@pytest.mark.parametrize("system", JOINED)
def test_two_rows_together_are_one_after_the_other(system):
    """Each key is the later row's, but where a row leaves modalities out both do."""
    rows, name = rows_of(system), f"{system}:{JOINED[system]}"
    plain, joined = made(name), 0
    one = {row: made(f"{name}/{row}") for row in rows}
    changed = {
        row: {k: v for k, v in one[row].items() if k not in plain or v != plain[k]}
        for row in rows
    }
    for a, b in itertools.permutations(rows, 2):
        try:
            found = made(f"{name}/{a}+{b}")
        except ValueError as error:
            assert re.search("is left in|leave no modality", str(error)), (a, b)
            continue
        wanted = plain | changed[a] | changed[b]
        modalities = [tuple(one[row]["data.modalities"]) for row in (a, b)]
        if len({tuple(plain["data.modalities"]), *modalities}) > 2:
            both = [m for m in modalities[0] if m in modalities[1]]
            wanted["data.modalities"] = both
        if system == "mfon":  # its phases go by the rows together
            wanted["phases"] = found["phases"]
        assert found == wanted, (a, b)
        joined += 1
    if system == "self_mm":  # its rows all change the same key
        assert joined == 0
    elif system in KNOWN:
        assert joined > len(rows)


@pytest.mark.parametrize("row", rows_of("misa"))
def test_rows_of_misa(row):
    options = recipe.load(f"misa:mosi/{row}")
    found = [m in options.data.modalities for m in ("text", "audio", "vision")]
    assert (options.text.encoder != "") == found[0]
    assert sum(found) == (2 if row in ("no_text", "no_audio", "no_vision") else 3)


@pytest.mark.parametrize("system,row", [("misa", "no_difference"), ("self_mm", "mtv")])
def test_an_unknown_row_gets_the_nearest(system, row):
    with pytest.raises(ValueError, match=f'unknown row "{row}s"; did you mean "{row}"'):
        recipe.load(f"{system}:mosi/{row}s")


def join(argument, known):
    return recipe.values(f"mosi/{argument}", {"mosi": {}}, base={}, rows=known)["model"]


def test_an_unknown_part_of_rows_names_the_nearest():
    known = {"paper": {"dim": 3}, "strategy_a": {"strategy": "A"}}
    with pytest.raises(ValueError, match='"strategy_b"; did you mean "strategy_a"'):
        join("paper+strategy_b", known)
    with pytest.raises(ValueError, match='unknown row "". Known: paper'):
        join("paper+", known)
    with pytest.raises(ValueError, match='nothing of the row "paper" is left.*dim'):
        join("paper+wide", known | {"wide": {"dim": 5}})
    # A later row may refine an earlier one.
    refined = join("both+wide", {"both": dict(dim=3, a=1), "wide": dict(dim=5)})
    assert refined == dict(dim=5, a=1)


def test_a_system_without_rows():
    with pytest.raises(ValueError, match="this system has no rows"):
        recipe.load("lf_dnn:demo/text")
