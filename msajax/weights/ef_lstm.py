"""EF-LSTM of thuiar/MMSA."""

from typing import Any

from msajax.weights import blocks
from msajax.weights.table import Table

# Hyperparameters with which our system computes what the reference's does.
REFERENCE = {"padded": True}


def table(model: Any) -> Table:
    """MMSA's names."""
    return Table(
        rules=(
            *blocks.batch_norm("norm", "norm"),
            *blocks.lstm("lstm", "lstm", model.layers),
            *blocks.linear("linear", "linear"),
            *blocks.linear("out", "out"),
        ),
        ignored=(blocks.BATCHES,),
    )
