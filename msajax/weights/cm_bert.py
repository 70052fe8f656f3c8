"""CM-BERT of thuiar/Cross-Modal-BERT."""

from collections.abc import Iterator
from typing import Any

from msajax.weights import bert, blocks
from msajax.weights.table import Rule, Table, copy, reverse

# Hyperparameters with which our system computes what the authors' does.
REFERENCE = {"scale": "batch", "cls_audio": "own"}


def table(model: Any) -> Table:
    """The authors' names; they save BERT's pooler and a bias, which have no effect."""
    return Table(
        rules=(
            *bert.rules_of(model, "bert."),
            *attention_rules("BertFinetun.", "attention/"),
            *blocks.linear("classifier", "head"),
        ),
        ignored=(bert.BUFFERS, r"bert\.pooler\..*", r"BertFinetun\.bias"),
    )


def attention_rules(torch: str, ours: str) -> Iterator[Rule]:
    """BertFinetun to `CrossModalAttention`; prefixes end in a separator or are ''."""
    yield from blocks.linear(f"{torch}dense", f"{ours}dense")
    yield from blocks.layer_norm(f"{torch}LayerNorm1", f"{ours}norm")
    for name in ("text", "audio"):
        yield copy(
            f"{torch}{name}_weight_1",
            f"params/{ours}{name}_weight",
            lambda weight: weight.reshape(1, 1, 1),
            lambda weight: weight.reshape(1),
        )
        kernel = f"params/{ours}{name}_convolution/conv/kernel"
        yield reverse(f"{torch}proj_{name[0]}.weight", kernel)
