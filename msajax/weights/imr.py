"""IMR of martinmamql/multimodal_routing."""

import re
from collections.abc import Iterator
from typing import Any

from msajax.data.spec import MODALITIES
from msajax.weights import blocks, mult
from msajax.weights.table import Rule, Table, copy, reverse

# Hyperparameters with which our system computes what the reference's does.
REFERENCE = {"padded": True, "fairseq_zero_pos": True, "expected": "logits"}

_LETTERS = dict(zip("lav", MODALITIES, strict=True))
# The capsules' names; text is 't' in these.
_CAPSULES = {
    **{m[0]: m for m in MODALITIES},
    **{"ta": "text_audio", "av": "audio_vision", "vt": "vision_text", "tav": "all"},
}


def table(model: Any) -> Table:
    """The authors' names; their bias is not used."""
    unused = (re.escape(f"mult.{name}") for name in mult.unused(model))
    return Table(
        rules=tuple(_rules(model)), ignored=("bias", *unused, blocks.ENCODER_BUFFERS)
    )


def _rules(model: Any) -> Iterator[Rule]:
    for letter, modality in _LETTERS.items():
        if (name := f"proj_{letter}.weight") not in mult.unused(model):
            leaf = f"params/{modality}_projection/conv/kernel"
            yield reverse(f"mult.{name}", leaf)
        sources = {"": "alone", **{s: m for s, m in _LETTERS.items() if s != letter}}
        for source, read in sources.items():
            with_source = f"_with_{source}" if source else ""
            yield from blocks.crossmodal_encoder(
                f"mult.trans_{letter}{with_source}.",
                f"{modality}_{read}/",
                layers=model.layers if source else max(model.layers, model.self_layers),
                heads=model.heads,
            )
    yield from blocks.linear("mult.final_lav", "all")
    for name, capsule in _CAPSULES.items():
        yield from blocks.linear(f"pc_{name}", f"capsule_{capsule}")
    yield copy("mc.w", "params/votes")
    yield copy("embedding", "params/embedding")
