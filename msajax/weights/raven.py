"""RAVEN of victorywys/RAVEN, for one number or one emotion, present or not."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from msajax.weights import blocks
from msajax.weights.table import Rule, Table, copy

# Hyperparameters with which our system computes what the reference's does.
REFERENCE = {
    "gate": "linear",
    "limit": "shift",
    "position_norm": True,
    "connected": False,
}


def table(model: Any) -> Table:
    """The authors' names; the norm of vision there is never used."""
    return Table(rules=tuple(_rules(model)), ignored=(r"normFacet\..*",))


def _rules(model: Any) -> Iterator[Rule]:
    yield from blocks.layer_norm("normcovarep", "norm")
    for theirs, resized, ours in (
        ("covarep", "covarep", "audio"),
        ("facet", "Facet", "vision"),
    ):
        yield from blocks.linear(f"fc_rsz{resized}", f"project_{ours}")
        yield from blocks.lstm(f"{theirs}LSTM", f"frames_{ours}")
        yield from blocks.linear(f"{theirs}W", f"gate_{ours}")
    yield from blocks.linear("calcAddon", "shift")
    yield from blocks.lstm_cell("lstm1.layer_1.lstm", "words/layer_0")
    if len(model.spec.classes) == 2:
        yield from _one_logit("fc_afterLSTM", "out")
    else:
        yield from blocks.linear("fc_afterLSTM", "out")


def _one_logit(torch: str, ours: str) -> Iterator[Rule]:
    """The logit of a sigmoid as that of the second class, where the first has 0."""

    def read(array: np.ndarray) -> np.ndarray:
        return np.concatenate([np.zeros_like(array), array]).T

    def write(leaf: np.ndarray) -> np.ndarray:
        return leaf.T[1:]

    yield copy(f"{torch}.weight", f"params/{ours}/kernel", read, write)
    yield copy(f"{torch}.bias", f"params/{ours}/bias", read, write)
