"""MMMU-BA of a public port to PyTorch."""

from collections.abc import Iterator
from typing import Any

from msajax.weights import blocks
from msajax.weights.table import Rule, Table

# Hyperparameters with which our system computes what the port's does, but for its dropout
# in evaluation.
REFERENCE = {"padded": True}

_NAMES = {"Text": "text", "Audio": "audio", "Video": "vision"}


def table(model: Any) -> Table:
    """The port's names."""
    del model
    return Table(rules=(*contextual_rules(), *blocks.linear("clf", "head")))


def contextual_rules() -> Iterator[Rule]:
    """All but the last layer."""
    for theirs, ours in _NAMES.items():
        yield from blocks.recurrent(f"rnn.{theirs}", f"{ours}_gru", "gru")
        yield from blocks.linear(f"fc.{theirs}", f"{ours}_dense")
