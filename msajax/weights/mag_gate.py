"""The gate of WasifurRahman/BERT_multimodal_transformer."""

from collections.abc import Iterator
from typing import Any

from msajax.weights import blocks
from msajax.weights.table import Rule, Table


def rules(torch: str = "", ours: str = "") -> Iterator[Rule]:
    """Rules of a MAG; prefixes end in a separator or are ''."""
    for name, modality in (("v", "vision"), ("a", "audio")):
        yield from blocks.linear(f"{torch}W_h{name}", f"{ours}{modality}_gate")
        yield from blocks.linear(f"{torch}W_{name}", f"{ours}{modality}")
    yield from blocks.layer_norm(f"{torch}LayerNorm", f"{ours}norm")


def table(gate: Any) -> Table:
    """The reference's names."""
    del gate
    return Table(rules=tuple(rules()))
