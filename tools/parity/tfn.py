"""TFN of thuiar/MMSA."""

from typing import Any

from msajax.models.tfn import TFN
from msajax.weights import reference_form
from msajax.weights.tfn import table
from tools.parity.case import Case
from tools.parity.replay import averaged_batch, eval_and_train, spec_of


def reproduce(case: Case) -> dict[str, Any]:
    """The case's results as our module gives them."""
    batch = averaged_batch(case)
    weights = case.group("param/")
    low, width = weights["output_shift"].item(), weights["output_range"].item()
    model = TFN(
        spec_of(batch, case.setting("output_dim")),
        hidden_dims=tuple(case.setting("hidden_dims")),
        text_out=case.setting("text_out"),
        post_fusion_dim=case.setting("post_fusion_dim"),
        audio_dropout=0.0,
        vision_dropout=0.0,
        post_fusion_dropout=0.0,
        output_range=(low, low + width),
        **reference_form("tfn"),
    )
    return eval_and_train(case, model, table(model), batch)
