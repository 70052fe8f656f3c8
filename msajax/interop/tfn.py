"""TFN of thuiar/MMSA."""

from typing import Any

from msajax.interop import blocks
from msajax.interop.case import Case
from msajax.interop.replay import averaged_batch, eval_and_train, spec_of
from msajax.interop.table import Table
from msajax.models.tfn import TFN


def table(model: TFN) -> Table:
    """MMSA's names; its output range is a setting of ours and must agree."""
    low, high = model.output_range
    return Table(
        rules=(
            *blocks.subnets(),
            *blocks.post_fusion(),
        ),
        constants={"output_range": high - low, "output_shift": low},
        ignored=(blocks.BATCHES,),
    )


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
        padded=True,
    )
    return eval_and_train(case, model, table(model), batch)
