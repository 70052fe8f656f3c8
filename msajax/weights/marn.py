"""MARN of sverma88/Multi-Attention-Recurrent-Network---MARN-AAAI2018."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from msajax.weights import blocks
from msajax.weights.table import Rule, Table, copy, reverse

# Hyperparameters with which our system computes what the reference's does.
REFERENCE = {
    "padded": True,
    "recurrence": "text",
    "attention": "joint",
    "output": "code",
}


def table(model: Any) -> Table:
    """The names of the reference's three modules: fmodel_v, fmodel_a and fmodel_t, fmodel, pred_model."""
    return Table(rules=tuple(_rules(model)))


def _rules(model: Any) -> Iterator[Rule]:
    for m in ("text", "audio", "vision"):
        torch, leaf = f"fmodel_{m[0]}", f"params/lsthm_{m}"
        for name, ours in (("W", ""), ("U", "recurrent_"), ("V", "code_")):
            yield reverse(f"{torch}.{name}.weight", f"{leaf}/{ours}kernel")
        biases = tuple(f"{torch}.{name}.bias" for name in "WUV")
        yield Rule(f"{leaf}/bias", biases, _sum, lambda g: (g, g, g))
        view = f"fmodel.small_net{m[0]}.0"
        yield reverse(f"{view}.weight", f"params/view_{m}_kernel")
        yield copy(f"{view}.bias", f"params/view_{m}_bias")
    order = heads_first(model)
    back = np.argsort(order)
    yield copy(
        "fmodel.attention_model.0.weight",
        "params/attention_kernel",
        lambda weight: weight[order].T,
        lambda kernel: kernel.T[back],
    )
    yield copy(
        "fmodel.attention_model.0.bias",
        "params/attention_bias",
        lambda bias: bias[order],
        lambda bias: bias[back],
    )
    for i in (1, 2):
        yield from blocks.linear(f"pred_model.n{i}", f"out_{i}")


def _sum(*biases: np.ndarray) -> np.ndarray:
    return np.sum(biases, axis=0)


def heads_first(model: Any) -> np.ndarray:
    """Where the reference has each of our attention scores, [K N].

    It has those of all heads on vision, then on audio, then on text; we have those of one
    head after those of another.
    """
    text, audio, vision = model.hidden_dims
    starts = itertools.accumulate((0, vision, audio), lambda a, n: a + model.heads * n)
    sizes = zip(starts, (vision, audio, text), strict=True)
    return np.concatenate(
        [start + np.arange(model.heads * n).reshape(-1, n) for start, n in sizes],
        axis=1,
    ).ravel()
