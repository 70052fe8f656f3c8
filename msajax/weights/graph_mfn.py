"""Graph-MFN of thuiar/MMSA.

Its checkpoints lack the networks of the vertices ("graph_mfn.networks..."), which it never
trains nor saves: without them a checkpoint is refused, since nothing can restore what it
computed.
"""

from collections.abc import Iterator
from typing import Any

from msajax.data.spec import MODALITIES
from msajax.weights import blocks
from msajax.weights.table import Rule, Table

# Hyperparameters with which our system computes what the reference's does.
REFERENCE = {"padded": True}


def table(model: Any) -> Table:
    """MMSA's names."""
    del model
    rules = [*blocks.lstms("", "lstms"), *blocks.gated_memory("", "memory")]
    for letter, m in zip("lav", MODALITIES, strict=True):
        rules += blocks.linear(f"{letter}_transform", f"vertex_{m}")
    names = {
        "t_network": "output",
        "efficacy_model": "efficacy",
        "networks.01": "vertex_text_audio",
        "networks.02": "vertex_text_vision",
        "networks.12": "vertex_audio_vision",
        "networks.012": "vertex_text_audio_vision",
    }
    for theirs, ours in names.items():
        rules += _two_layers(f"graph_mfn.{theirs}", f"graph/{ours}")
    rules += blocks.linear("graph_mfn.efficacy_model.2", "graph/efficacy_out")
    rules += blocks.feed_forward("out", "out")
    return Table(rules=tuple(rules))


def _two_layers(torch: str, ours: str) -> Iterator[Rule]:
    yield from blocks.linear(f"{torch}.0", f"{ours}_fc1")
    yield from blocks.linear(f"{torch}.1.0", f"{ours}_fc2")
