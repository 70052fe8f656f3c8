"""LMF of thuiar/MMSA."""

from typing import Any

from msajax.weights import blocks
from msajax.weights.table import Table

# Hyperparameters with which our system computes what the reference's does.
REFERENCE = {"padded": True}


def table(model: Any) -> Table:
    """MMSA's names."""
    del model
    return Table(
        rules=(
            *blocks.subnets(),
            *blocks.low_rank(),
        ),
        ignored=(blocks.BATCHES,),
    )
