"""LMF of thuiar/MMSA."""

from typing import Any

from msajax.models.lmf import LMF
from msajax.weights import reference_form
from msajax.weights.lmf import table
from tools.parity.case import Case
from tools.parity.replay import averaged_batch, eval_and_train, spec_of


def reproduce(case: Case) -> dict[str, Any]:
    """The case's results as our module gives them."""
    batch = averaged_batch(case)
    model = LMF(
        spec_of(batch, case.setting("output_dim")),
        hidden_dims=tuple(case.setting("hidden_dims")),
        rank=case.setting("rank"),
        audio_dropout=0.0,
        vision_dropout=0.0,
        **reference_form("lmf"),
    )
    return eval_and_train(case, model, table(model), batch)
