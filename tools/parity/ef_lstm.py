"""EF-LSTM of thuiar/MMSA."""

from typing import Any

from msajax.models.ef_lstm import EFLSTM
from msajax.weights import reference_form
from msajax.weights.ef_lstm import table
from tools.parity.case import Case
from tools.parity.replay import eval_and_train, padded_batch, spec_of


def reproduce(case: Case) -> dict[str, Any]:
    """The case's results as our module gives them."""
    inputs = case.group("in/")
    batch = padded_batch(
        inputs["text"], inputs["audio"], inputs["vision"], inputs["labels"]
    )
    model = EFLSTM(
        spec_of(batch, case.setting("output_dim")),
        hidden_dim=case.setting("hidden_dims"),
        layers=case.setting("num_layers"),
        dropout=0.0,
        **reference_form("ef_lstm"),
    )
    return eval_and_train(case, model, table(model), batch)
