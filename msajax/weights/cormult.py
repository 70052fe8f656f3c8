"""CorMulT of YAMY1234/CorMulT, whose cases hold two networks: 'mce' and 'mult'."""

import re
from collections.abc import Iterator
from typing import Any

from msajax.weights import blocks, mult
from msajax.weights.table import Rule, Table, stack

# Hyperparameters with which our system computes what the reference's does.
REFERENCE = {"padded": True, "counted_pos": True}


def table(model: Any, mce: str = "corr_model.", network: str = "") -> Table:
    """The names in the authors' MulT, whose evaluator is 'corr_model'; both prefixes may be others."""
    rules = (*_mce(model, mce), *mult.network_rules(model, network, "mult/"))
    unused = (f"{network}{name}" for name in mult.unused(model))
    return Table(
        rules=rules,
        ignored=(
            *map(re.escape, unused),
            blocks.ENCODER_BUFFERS,
            rf"{re.escape(mce)}pos_encoder\.pe",
        ),
    )


def _mce(model: Any, torch: str) -> Iterator[Rule]:
    def layer(source: str, leaf: str) -> Iterator[Rule]:
        yield from blocks.attention(
            f"{source}.self_attn", f"{leaf}/attention", model.mce_heads
        )
        yield from blocks.linear(f"{source}.linear1", f"{leaf}/fc1")
        yield from blocks.linear(f"{source}.linear2", f"{leaf}/fc2")
        yield from blocks.layer_norm(f"{source}.norm1", f"{leaf}/attention_norm")
        yield from blocks.layer_norm(f"{source}.norm2", f"{leaf}/output_norm")

    for m in model.correlated:
        ours = f"mce/network_{m}"
        yield from blocks.linear(f"{torch}{m}_fc", f"{ours}/embed")
        yield from blocks.linear(f"{torch}{m}_out_fc", f"{ours}/out")
        layers = (f"{torch}{m}_encoder.layers.{i}" for i in range(model.mce_layers))
        yield from stack(layer(name, f"{ours}/encoder/layers") for name in layers)
