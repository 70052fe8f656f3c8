"""QMF of qiuchili/monosenti: its local mixture and its uQDNN."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from msajax.weights import blocks
from msajax.weights.table import Rule, Table, copy

# Hyperparameters with which our system computes what the reference's does.
REFERENCE = {"padded": True, "reference_norm": True}

# Its order of the modalities.
ORDER = ("text", "vision", "audio")


def table(model: Any) -> Table:
    """The authors' names; they have parts that nothing reads."""
    unused = r"modality_specific_weights|weight_embed\..*|proj_layers\.\d\.norm\..*"
    return Table(rules=tuple(_rules(model)), ignored=(unused,))


def _rules(model: Any) -> Iterator[Rule]:
    yield copy("modality_weights", "params/modality_weights", _swap_last, _swap_last)
    yield copy("embed.weight", "params/words/embedding")
    yield from blocks.lstm_cell("proj_layers.0.lstm", "lstm/layer_0")
    yield from blocks.linear("proj_layers.0.linear_1", "project_text")
    for i, m in enumerate(ORDER):
        yield copy(f"phase_embed.{i}.weight", f"params/phase_{m}/embedding")
        for j in (1, 2, 3) if i else ():
            yield from blocks.linear(f"proj_layers.{i}.linear_{j}", f"{m}_{j}")
    text, audio, vision = model.state_dims

    def read(kernel: np.ndarray) -> np.ndarray:
        return np.swapaxes(kernel.reshape(-1, text, vision, audio, 2), 2, 3)

    def write(kernel: np.ndarray) -> np.ndarray:
        return np.swapaxes(kernel, 2, 3).reshape(len(kernel), -1, 2)

    yield copy("measurement.kernel", "params/measurement", read, write)
    for i in (1, 2, 3):
        yield from blocks.linear(f"fc_out.{2 * i - 1}", f"out_{i}")


def _swap_last(weights: np.ndarray) -> np.ndarray:
    """Text, vision, audio to our order, and back."""
    return weights[[0, 2, 1]]
