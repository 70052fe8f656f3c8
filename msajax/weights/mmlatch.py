"""MMLatch of georgepar/mmlatch."""

from collections.abc import Iterator
from typing import Any

from msajax.data.spec import MODALITIES
from msajax.weights import blocks
from msajax.weights.table import Rule, Table, reverse

# Hyperparameters with which our system computes what the reference's does.
REFERENCE = {"padded": True}

_NAMES = {"text": "text", "audio": "audio", "vision": "visual"}


def table(model: Any) -> Table:
    """The authors' names."""
    return Table(rules=tuple(_rules(model)))


def _rules(model: Any) -> Iterator[Rule]:
    ways = ("forward", "backward") if model.bidirectional else ("forward",)
    for m, name in _NAMES.items():
        torch = f"encoder.{name}.encoder"
        yield from blocks.recurrent(
            f"{torch}.rnn.rnn", f"{m}/recurrent", model.cell, ways
        )
        yield from _attention(f"{torch}.attention.{{}}", f"{m}/attention")
    for i, m in enumerate(MODALITIES, 1):
        others = [other for other in MODALITIES if other != m]
        for j, other in enumerate(others if model.feedback != "off" else (), 1):
            names = f"encoder.fm.f{i}.mask{j}", f"mask_{m}_by_{other}"
            if model.feedback == "static":
                yield from blocks.linear(*names)
            else:
                torch, ours = names
                yield from blocks.recurrent(f"{torch}.rnn", ours, "lstm", ("forward",))
    fuser = "encoder.fuser.att_fuser"
    for a, b in (("text", "audio"), ("vision", "audio"), ("text", "vision")):
        torch = f"{fuser}.{a[0]}{b[0]}.{{}}"
        yield from _attention(torch, f"{b}_to_{a}", keys="x", queries="y")
        yield from _attention(torch, f"{a}_to_{b}", keys="y", queries="x")
    yield from _attention(f"{fuser}.tav.{{}}", "pair_to_text")
    yield from blocks.recurrent("encoder.fuser.rnn.rnn.rnn", "fusion/recurrent", "lstm")
    yield from _attention("encoder.fuser.rnn.attention.{}", "fusion/attention")
    yield from blocks.linear("classifier", "head")


def _attention(
    torch: str, ours: str, *, keys: str = "", queries: str = ""
) -> Iterator[Rule]:
    letters = dict(query=f"q{queries}", key=f"k{keys}", value=f"v{keys}")
    for leaf, letter in letters.items():
        name = f"{torch.format(letter)}.weight"
        yield reverse(name, f"params/{ours}/{leaf}/kernel")
