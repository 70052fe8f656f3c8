"""COSMIC of declare-lab/conv-emotion, the model CommonsenseGRUModel."""

from collections.abc import Iterator
from typing import Any

from msajax.weights import blocks
from msajax.weights.table import Rule, Table, copy

# Hyperparameters with which our system computes what the reference's does.
REFERENCE = {"padded": True}

_CELLS = dict(g="global", p="party", r="reaction", i="intent", e="emotion")
_LISTENERS = dict(pl="party_listener", rl="reaction_listener")
_NORMS = {"layer": ("1", blocks.layer_norm), "batch": ("3", blocks.batch_norm)}


def table(model: Any) -> Table:
    """The authors' names; they make all norms, and a GRU that nothing reads."""
    unused = [r"norm\d[a-d]\..*", r"sense_gru\..*", "r_weights"]
    if not model.attention:
        unused.append(r"matchatt\..*")
    return Table(rules=tuple(_rules(model)), ignored=tuple(unused))


def _rules(model: Any) -> Iterator[Rule]:
    if model.norm in _NORMS:
        number, rules = _NORMS[model.norm]
        for i in model.layers_read:
            yield from rules(f"norm{number}{'abcd'[i]}", f"norm_{i + 1}")
    if model.combine == "weighted":
        yield copy("r_weights", "params/layer_weights")
    yield from blocks.linear("linear_in", "project")
    cells = _CELLS | (_LISTENERS if model.listener else {})
    for letter, ours in (("f", "forward"), ("r", "backward")):
        torch = f"cs_rnn_{letter}.dialogue_cell"
        yield from blocks.party_cells(torch, ours, cells, model.context_attention)
    if model.attention:
        yield from blocks.linear("matchatt.transform", "attention/transform")
    yield from blocks.linear("linear", "linear")
    yield from blocks.linear("smax_fc", "out")
