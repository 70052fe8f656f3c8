"""DialogueGCN of declare-lab/conv-emotion."""

from collections.abc import Iterator
from typing import Any

from msajax.weights import blocks
from msajax.weights.table import Rule, Table, copy

# Hyperparameters with which our system computes what the reference's does.
REFERENCE = {"edge_query": "position", "normalise": "outgoing", "padded": True}

_GRAPH = "graph_net"


def table(model: Any) -> Table:
    """The authors' names; their other kinds of edge attention are made and never used."""
    unused = [r"att_model\.(matchatt|simpleatt|att)\..*"]
    if not model.nodal_attention:
        unused.append(rf"{_GRAPH}\.matchatt\..*")
    return Table(rules=tuple(_rules(model)), ignored=tuple(unused))


def _rules(model: Any) -> Iterator[Rule]:
    if model.base == "none":
        yield from blocks.linear("base_linear", "base")
    elif model.base == "dialogue_rnn":
        for letter, ours in (("f", "forward"), ("r", "backward")):
            torch = f"dialog_rnn_{letter}.dialogue_cell"
            yield from blocks.parties(torch, ours, model)
    else:
        for i in range(model.recurrent_layers):
            leaf = f"layer_{i}"
            yield from blocks.recurrent(model.base, leaf, model.base, layer=i)
    yield copy("att_model.scalar.weight", "params/edge_kernel")
    conv = f"{_GRAPH}.conv1"
    for theirs, ours in (
        *(("basis", "basis"), ("att", "relations")),
        *(("root", "root"), ("bias", "bias")),
    ):
        yield copy(f"{conv}.{theirs}", f"params/{ours}")
    # torch_geometric's own weights are [in, out].
    yield copy(f"{_GRAPH}.conv2.weight", "params/neighbours/kernel")
    yield from blocks.linear(f"{_GRAPH}.conv2.lin", "own")
    if model.nodal_attention:
        torch = f"{_GRAPH}.matchatt.transform"
        yield from blocks.linear(torch, "attention/transform")
    yield from blocks.linear(f"{_GRAPH}.linear", "linear")
    yield from blocks.linear(f"{_GRAPH}.smax_fc", "out")
