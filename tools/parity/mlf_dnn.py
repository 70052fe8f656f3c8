"""MLF-DNN of thuiar/MMSA."""

from typing import Any

from msajax.models.mlf_dnn import MLFDNN
from msajax.weights.mlf_dnn import table
from tools.parity.case import Case
from tools.parity.replay import multi_task


def reproduce(case: Case) -> dict[str, Any]:
    """The case's results as our module gives them."""
    return multi_task(
        case,
        MLFDNN,
        table,
        text_out=case.setting("text_out"),
        post_fusion_dim=case.setting("post_fusion_dim"),
        post_fusion_dropout=0.0,
    )
