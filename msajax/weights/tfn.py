"""TFN of thuiar/MMSA."""

from typing import Any

from msajax.weights import blocks
from msajax.weights.table import Table

# Hyperparameters with which our system computes what the reference's does.
REFERENCE = {"padded": True}


def table(model: Any) -> Table:
    """MMSA's names; its output range is a setting of ours and must agree."""
    low, high = model.output_range
    return Table(
        rules=(
            *blocks.subnets(),
            *blocks.post_fusion(),
        ),
        constants={"output_range": high - low, "output_shift": low},
        ignored=(blocks.BATCHES,),
    )
