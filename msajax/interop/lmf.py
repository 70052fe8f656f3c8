"""LMF of thuiar/MMSA."""

from typing import Any

from msajax.interop import blocks
from msajax.interop.case import Case
from msajax.interop.replay import averaged_batch, eval_and_train, spec_of
from msajax.interop.table import Table, copy
from msajax.models.lmf import LMF


def table(model: LMF) -> Table:
    """MMSA's names."""
    del model
    return Table(
        rules=(
            *blocks.subnets(),
            copy("text_factor", "params/text_factor"),
            copy("audio_factor", "params/audio_factor"),
            copy("video_factor", "params/vision_factor"),
            copy("fusion_weights", "params/fusion_weights"),
            copy("fusion_bias", "params/fusion_bias"),
        ),
        ignored=(blocks.BATCHES,),
    )


def reproduce(case: Case) -> dict[str, Any]:
    """The case's results as our module gives them."""
    batch = averaged_batch(case)
    model = LMF(
        spec_of(batch, case.setting("output_dim")),
        hidden_dims=tuple(case.setting("hidden_dims")),
        rank=case.setting("rank"),
        audio_dropout=0.0,
        vision_dropout=0.0,
        padded=True,
    )
    return eval_and_train(case, model, table(model), batch)
