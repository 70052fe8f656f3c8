"""LF-DNN of thuiar/MMSA."""

from typing import Any

from msajax.interop import blocks
from msajax.interop.case import Case
from msajax.interop.replay import averaged_batch, eval_and_train, spec_of
from msajax.interop.table import Table
from msajax.models.lf_dnn import LFDNN


def table(model: LFDNN) -> Table:
    """MMSA's names."""
    del model
    return Table(
        rules=(*blocks.subnets(), *blocks.post_fusion()),
        ignored=(blocks.BATCHES,),
    )


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
        padded=True,
    )
    return eval_and_train(case, model, table(model), batch)
