"""MM-DFN of zerohd4869/MM-DFN, graph type GDF."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from msajax.weights import blocks
from msajax.weights.table import Rule, Table, copy

# Hyperparameters with which our system computes what the reference's does.
REFERENCE = {"padded": True}

_NAMES = {"audio": "a", "vision": "v", "text": "l"}
# Layers that the reference makes and never uses with this graph type.
_UNUSED = (
    r"(att_model|gatedatt)\..*",
    r"graph_model\.(([avl]|feature|final)_fc|[avl]_spk_embs)\..*",
)


def table(model: Any) -> Table:
    """The authors' names."""
    unused: list[str] = list(_UNUSED)
    if not (model.reason and model.layers):
        unused.append(r"graph_model\.graph_net\.rnn\..*")
    if not any(model.speaker_weights):
        unused.append(r"rnn_parties\..*")
    embeddings = dict(modal=model.embed_modality, speaker=model.embed_speaker)
    unused += [
        rf"graph_model\.{name}_embeddings\..*"
        for name, used in embeddings.items()
        if not used
    ]
    return Table(rules=tuple(_rules(model)), ignored=tuple(unused))


def _rules(model: Any) -> Iterator[Rule]:
    for m in (m for m in _NAMES if m in model.spec.modalities):
        letter = _NAMES[m]
        yield from blocks.linear(f"linear_{letter}", f"project_{m}")
        if m == "text" or model.recurrent_all:
            yield from _gru(f"lstm_{letter}", f"gru_{m}", model)
    if any(model.speaker_weights):
        yield from _gru("rnn_parties", "gru_speakers", model)
    graph = "graph_model.graph_net"
    yield from blocks.linear(f"{graph}.fcs.0", "first")
    if model.layers:
        names = tuple(f"{graph}.convs.{i}.weight" for i in range(model.layers))
        yield Rule("params/layers/kernel", names, _stacked, list)
        if model.reason:
            yield from _lstm(f"{graph}.rnn", "reason")
    for used, name, ours in (
        (model.embed_modality, "modal", "modalities"),
        (model.embed_speaker, "speaker", "speakers"),
    ):
        if used:
            torch = f"graph_model.{name}_embeddings.weight"
            yield copy(torch, f"params/{ours}/embedding")
    yield from blocks.linear("smax_fc", "out")


def _stacked(*arrays: np.ndarray) -> np.ndarray:
    return np.stack(arrays)


def _gru(torch: str, ours: str, model: Any) -> Iterator[Rule]:
    for i in range(model.recurrent_layers):
        yield from blocks.recurrent(torch, f"{ours}/layer_{i}", "gru", layer=i)


def _lstm(torch: str, ours: str) -> Iterator[Rule]:
    prefix = f"params/{ours}/layer_0"
    for rule in blocks.lstm(torch, ours):
        leaf = rule.leaf.replace(prefix, f"params/{ours}")
        yield Rule(leaf, rule.names, rule.read, rule.write)
