"""MMIM of thuiar/MMSA."""

from collections.abc import Iterator
from typing import Any

from msajax.data.spec import MODALITIES
from msajax.weights import bert, blocks
from msajax.weights.table import Rule, Table, zeros

_BERT = "bertmodel.model."


def table(model: Any) -> Table:
    """MMSA's names; its checkpoints hold no memory: ours starts empty."""
    return Table(
        rules=tuple(_rules(model)),
        ignored=(_BERT.replace(".", r"\.") + rf"(pooler\..*|{bert.BUFFERS})",),
    )


def _rules(model: Any) -> Iterator[Rule]:
    yield from bert.rules_of(model, _BERT)
    for torch, m in (("acoustic_enc", "audio"), ("visual_enc", "vision")):
        directions = ("forward", "backward") if model.bidirectional else ("forward",)
        yield from blocks.recurrent(f"{torch}.rnn", f"read_{m}", "lstm", directions)
        yield from blocks.linear(f"{torch}.linear_1", f"project_{m}")
    for i, ours in enumerate(("fusion_1", "fusion_2", "head"), 1):
        yield from blocks.linear(f"fusion_prj.linear_{i}", ours)
    for m in MODALITIES:
        for i in range(model.predictor_layers):
            # Behind the first of several layers stands a tanh.
            number = "" if model.predictor_layers == 1 else f".{i and i + 1}"
            torch = f"cpc_z{m[0]}.net{number}"
            yield from blocks.linear(torch, f"predict_{m}/layer_{i + 1}")
    for x, y in model.pairs:
        yield from _estimator(model, x, y)


def _estimator(model: Any, x: str, y: str) -> Iterator[Rule]:
    torch, ours = f"mi_{x[0]}{y[0]}", f"mi_{x}_{y}"
    for name, leaf in (("mlp_mu", "mean"), ("mlp_logvar", "log_variance")):
        for i in (0, 1):
            yield from blocks.linear(
                f"{torch}.{name}.{2 * i}", f"{ours}/{leaf}_{i + 1}"
            )
    yield from blocks.linear(f"{torch}.entropy_prj.0", f"{ours}/entropy")
    n = model.out_dims[("audio", "vision").index(y)] // 4
    for name, shape in (("count", ()), ("mean", (n,)), ("scatter", (n, n))):
        yield zeros(f"memory/{x}_{y}_{name}", (2, *shape))
