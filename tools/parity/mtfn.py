"""MTFN of thuiar/MMSA."""

from typing import Any

from msajax.models.mtfn import MTFN
from msajax.weights.mtfn import table
from tools.parity.case import Case
from tools.parity.replay import multi_task


def reproduce(case: Case) -> dict[str, Any]:
    """The case's results as our module gives them."""
    low, width = (
        case.arrays[f"param/output_{name}"].item() for name in ("shift", "range")
    )
    return multi_task(
        case,
        MTFN,
        table,
        text_out=case.setting("text_out"),
        post_fusion_dim=case.setting("post_fusion_dim"),
        post_fusion_dropout=0.0,
        output_range=(low, low + width),
    )
