"""MAG-BERT of thuiar/MMSA, where it is named bert_mag."""

from typing import Any

from msajax.weights import bert, blocks, mag_gate
from msajax.weights.table import Table


def table(model: Any) -> Table:
    """MMSA's names."""
    return Table(
        rules=(
            *bert.rules_of(model, "model.bert.", pooler=True),
            *mag_gate.rules("model.bert.MAG.", "gate/"),
            *blocks.linear("model.classifier", "head"),
        ),
        ignored=(bert.BUFFERS,),
    )
