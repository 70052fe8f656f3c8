"""AV-MC: the class V1 of thuiar/ch-sims-v2, with its frozen BERT."""

from collections.abc import Iterator
from typing import Any

from msajax.weights import blocks
from msajax.weights.table import Rule, Table

_VIDEO = {"text": "text", "audio": "audio", "vision": "video"}


def table(model: Any) -> Table:
    """The authors' names; their BERT is frozen, and features for us."""
    low, high = model.output_range
    return Table(
        rules=tuple(_rules(model)),
        constants={"output_range": high - low, "output_shift": low},
        ignored=(blocks.BATCHES, r"text_model\..*"),
    )


def _rules(model: Any) -> Iterator[Rule]:
    yield from blocks.linear("tliner", "text")
    yield from blocks.subnet("audio_model", "audio")
    yield from blocks.subnet("video_model", "vision")
    for modality, name in _VIDEO.items():
        labelled = f"label_{modality}" in model.spec.fields
        for i in (1, 2, 3) if labelled else (1, 2):
            yield from blocks.linear(f"post_{name}_layer_{i}", f"post_{modality}_{i}")
    yield from blocks.post_fusion()
