"""LF-DNN of thuiar/MMSA."""

from typing import Any

from msajax.models.lf_dnn import LFDNN
from msajax.weights import reference_form
from msajax.weights.lf_dnn import table
from tools.parity.case import Case
from tools.parity.replay import averaged_batch, eval_and_train, spec_of


def reproduce(case: Case) -> dict[str, Any]:
    """The case's results as our module gives them."""
    batch = averaged_batch(case)
    model = LFDNN(
        spec_of(batch, case.setting("output_dim")),
        hidden_dims=tuple(case.setting("hidden_dims")),
        text_out=case.setting("text_out"),
        post_fusion_dim=case.setting("post_fusion_dim"),
        audio_dropout=0.0,
        vision_dropout=0.0,
        post_fusion_dropout=0.0,
        **reference_form("lf_dnn"),
    )
    return eval_and_train(case, model, table(model), batch)
