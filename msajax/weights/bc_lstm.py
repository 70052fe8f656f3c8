"""bc-LSTM of declare-lab/conv-emotion."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from msajax.weights import blocks
from msajax.weights.table import Rule, Table, copy

# Hyperparameters with which our system computes what the reference's does.
REFERENCE = {"padded": True}


def table(model: Any) -> Table:
    """The authors' names."""
    return Table(rules=tuple(_rules(model)))


def _rules(model: Any) -> Iterator[Rule]:
    for i in range(model.layers):
        yield from blocks.recurrent("lstm", f"layer_{i}", "lstm", layer=i)
    if model.attention:
        yield from blocks.linear("matchatt.transform", "attention/transform")
    yield from blocks.linear("linear", "linear")
    yield from blocks.linear("smax_fc", "out")
    if model.spec.vocabulary:
        yield from _words("cnn_feat_extractor", "words", len(model.kernel_sizes))


def _words(torch: str, ours: str, kernels: int) -> Iterator[Rule]:
    yield copy(f"{torch}.embedding.weight", f"params/{ours}/embed/embedding")
    for i in range(kernels):
        leaf = f"params/{ours}/conv_{i}"
        yield copy(
            f"{torch}.convs.{i}.weight", f"{leaf}/kernel", np.transpose, np.transpose
        )
        yield copy(f"{torch}.convs.{i}.bias", f"{leaf}/bias")
    yield from blocks.linear(f"{torch}.fc", f"{ours}/linear")
