"""The parts of LeMei/UniMSE beside T5: adapters, LSTMs, and the projections of the contrast."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from msajax.weights import blocks
from msajax.weights.table import Rule, Table, copy


def adapter(torch: str, ours: str) -> Iterator[Rule]:
    """Their FFN_Adapter or Parallel_Adapter to `Adapter`."""
    names = dict(down="down_project", up="up_project", out="linear")
    for name, theirs in names.items():
        yield from blocks.linear(f"{torch}.adapter_{theirs}", f"{ours}/{name}")


def signal(torch: str, ours: str) -> Iterator[Rule]:
    """Their RNNEncoder to `Signal`."""
    yield from blocks.lstm(f"{torch}.rnn", f"{ours}/lstm")
    yield from blocks.linear(f"{torch}.linear_1", f"{ours}/out")


def contrast(torch: str, ours: str) -> Iterator[Rule]:
    """Their InfoNCE, whose projections are convolutions of one step, to `Contrast`."""
    for name in ("query", "positive"):
        yield copy(
            f"{torch}.info_proj_{name}.weight",
            f"params/{ours}/{name}/kernel",
            lambda kernel: np.asarray(kernel)[..., 0].T,
            lambda kernel: np.asarray(kernel).T[..., None],
        )


def table(parts: Any) -> Table:
    """The names of a case, in which each part is there once."""
    del parts
    rules = [*adapter("adapter", "adapter"), *adapter("parallel", "parallel")]
    rules += [*signal("visual_enc", "vision"), *signal("acoustic_enc", "audio")]
    return Table(rules=(*rules, *contrast("info_nce", "contrast")))
