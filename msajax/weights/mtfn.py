"""MTFN of thuiar/MMSA."""

from typing import Any

from msajax.weights import blocks
from msajax.weights.table import Table

# Hyperparameters with which our system computes what the reference's does.
REFERENCE = {"padded": True, "output_range": (-3.0, 3.0)}


def table(model: Any) -> Table:
    """MMSA's names; its output range is a setting of ours and must agree."""
    low, high = model.output_range or model.spec.label_range
    own, ignored = blocks.modality_predictions(model.own_tasks(model.weights))
    return Table(
        rules=(*blocks.subnets(), *blocks.post_fusion(), *own),
        constants={"output_range": high - low, "output_shift": low},
        ignored=(blocks.BATCHES, *ignored),
    )
