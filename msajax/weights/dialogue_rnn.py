"""DialogueRNN of declare-lab/conv-emotion, the model BiModel."""

from collections.abc import Iterator
from typing import Any

from msajax.weights import blocks
from msajax.weights.table import Rule, Table

# Hyperparameters with which our system computes what the reference's does.
REFERENCE = {"padded": True}


def table(model: Any) -> Table:
    """The authors' names."""
    unused = () if model.attention else (r"matchatt\..*",)
    return Table(rules=tuple(_rules(model)), ignored=unused)


def _rules(model: Any) -> Iterator[Rule]:
    for letter, ours in (("f", "forward"), ("r", "backward")):
        torch = f"dialog_rnn_{letter}.dialogue_cell"
        yield from blocks.parties(torch, ours, model)
    if model.attention:
        yield from blocks.linear("matchatt.transform", "attention/transform")
    yield from blocks.linear("linear", "linear")
    yield from blocks.linear("smax_fc", "out")
