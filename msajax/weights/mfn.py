"""MFN of thuiar/MMSA."""

from typing import Any

from msajax.weights import blocks
from msajax.weights.table import Table

# Hyperparameters with which our system computes what the reference's does.
REFERENCE = {"padded": True, "average_av": True}


def table(model: Any) -> Table:
    """MMSA's names."""
    del model
    rules = *blocks.memory_fusion("", "fuse"), *blocks.feed_forward("out", "out")
    return Table(rules=rules)
