"""EF-LSTM of thuiar/MMSA."""

from typing import Any

from msajax.interop import blocks
from msajax.interop.case import Case
from msajax.interop.replay import eval_and_train, padded_batch, spec_of
from msajax.interop.table import Table
from msajax.models.ef_lstm import EFLSTM


def table(model: EFLSTM) -> Table:
    """MMSA's names."""
    return Table(
        rules=(
            *blocks.batch_norm("norm", "norm"),
            *blocks.lstm("lstm", "lstm", model.layers),
            *blocks.linear("linear", "linear"),
            *blocks.linear("out", "out"),
        ),
        ignored=(blocks.BATCHES,),
    )


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
        padded=True,
    )
    return eval_and_train(case, model, table(model), batch)
