"""MLMF of thuiar/MMSA."""

from typing import Any

from msajax.weights import blocks
from msajax.weights.table import Table

# Hyperparameters with which our system computes what the reference's does.
REFERENCE = {"padded": True}


def table(model: Any) -> Table:
    """MMSA's names."""
    own, ignored = blocks.modality_predictions(model.own_tasks(model.weights))
    return Table(
        rules=(*blocks.subnets(), *blocks.low_rank(), *own),
        ignored=(blocks.BATCHES, *ignored),
    )
