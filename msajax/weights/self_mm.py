"""Self-MM of thuiar/MMSA; its cases also hold label tables over simulated epochs."""

from collections.abc import Iterator
from typing import Any

from msajax.data.spec import MODALITIES
from msajax.weights import bert, blocks
from msajax.weights.table import Rule, Table, zeros

_BERT = "text_model.model."

_LETTERS = dict(zip("MTAV", ("fusion", *MODALITIES), strict=True))

_VIDEO = {"vision": "video"}


def table(model: Any) -> Table:
    """MMSA's names; its checkpoints hold no memory: ours starts empty."""
    return Table(
        rules=tuple(_rules(model)),
        ignored=(_BERT.replace(".", r"\.") + rf"(pooler\..*|{bert.BUFFERS})",),
    )


def _rules(model: Any) -> Iterator[Rule]:
    yield from bert.rules_of(model, _BERT)
    for m in ("audio", "vision"):
        yield from blocks.text_subnet(f"{_VIDEO.get(m, m)}_model", m)
    rows = model.spec.num_train
    dims = model.fusion_dim, *model.post_dims
    for m, dim in zip(_LETTERS.values(), dims, strict=True):
        for i in (1, 2, 3):
            torch = f"post_{_VIDEO.get(m, m)}_layer_{i}"
            yield from blocks.linear(torch, f"post_{m}/layer_{i}")
        yield zeros(f"memory/label_{m}", (rows,))
        yield zeros(f"memory/feature_{m}", (rows, dim))
