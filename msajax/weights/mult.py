"""MulT of thuiar/MMSA; the names are those of yaohungt/Multimodal-Transformer too."""

import re
from collections.abc import Iterator
from typing import Any

from msajax.data.spec import MODALITIES
from msajax.weights import blocks
from msajax.weights.table import Rule, Table, reverse

_LETTERS = dict(zip("lav", MODALITIES, strict=True))


def encoders() -> Iterator[tuple[str, str]]:
    """The reference's name and ours of all nine encoders."""
    for to, target in _LETTERS.items():
        for by, source in _LETTERS.items():
            if by != to:
                yield f"trans_{to}_with_{by}", f"{source}_to_{target}"
        yield f"trans_{to}_mem", f"{target}_memory"


# Hyperparameters with which our system computes what the reference's does.
REFERENCE = {"padded": True, "position_embedding": False}


def table(model: Any) -> Table:
    """The reference's names; it has projections that it does not use, see `unused`."""
    return Table(
        rules=tuple(network_rules(model)),
        ignored=(*map(re.escape, unused(model)), blocks.ENCODER_BUFFERS),
    )


def network_rules(model: Any, torch: str = "", ours: str = "") -> Iterator[Rule]:
    """Those of the network of a system with MulT's fields; prefixes end in a separator or are ''."""
    for name, encoder in encoders():
        layers = max(model.layers, 3) if encoder.endswith("memory") else model.layers
        yield from blocks.crossmodal_encoder(
            f"{torch}{name}.", f"{ours}{encoder}/", layers=layers, heads=model.heads
        )
    for letter, modality in _LETTERS.items():
        if (name := f"proj_{letter}.weight") not in unused(model):
            leaf = f"params/{ours}{modality}_projection/conv/kernel"
            yield reverse(f"{torch}{name}", leaf)
    yield from blocks.linear(f"{torch}proj1", f"{ours}proj1")
    yield from blocks.linear(f"{torch}proj2", f"{ours}proj2")
    yield from blocks.linear(f"{torch}out_layer", f"{ours}out")


def unused(model: Any) -> list[str]:
    """Projections of modalities that already have the common width."""
    return [
        f"proj_{letter}.weight"
        for letter, dim in zip("lav", model.spec.dims, strict=True)
        if dim == model.dim
    ]
