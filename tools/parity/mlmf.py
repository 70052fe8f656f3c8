"""MLMF of thuiar/MMSA."""

from typing import Any

from msajax.models.mlmf import MLMF
from msajax.weights.mlmf import table
from tools.parity.case import Case
from tools.parity.replay import multi_task


def reproduce(case: Case) -> dict[str, Any]:
    """The case's results as our module gives them."""
    return multi_task(case, MLMF, table, rank=case.setting("rank"))
