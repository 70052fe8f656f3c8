"""MCTN of thuiar/MMSA."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from msajax.weights import blocks
from msajax.weights.table import Rule, Table, copy, reverse

# Hyperparameters with which our system computes what MMSA's does, faults and all.
REFERENCE = {
    **{"padded": True, "layout": "batch", "teacher_forcing": True},
    **{"decoder_state": "reset", "decode_first": False},
}


def table(model: Any) -> Table:
    """MMSA's names, of the form that REFERENCE sets.

    The state dict repeats what `seq2seq` and the decoders' attention share; a state that
    is reset has no use for the kernel from state to state.
    """
    del model
    repeated = r"seq2seq\d\..*", r"decoder\d\.attention\..*"
    return Table(
        rules=tuple(_rules()), ignored=(*repeated, r"decoder\d\.rnn\.weight_hh_.*")
    )


def _rules() -> Iterator[Rule]:
    for i in (1, 2):
        encoder, decoder = f"params/encoder_{i}", f"params/decoder_{i}"
        yield from blocks.recurrent(f"encoder{i}.rnn", f"encoder_{i}/lstm", "lstm")
        yield reverse(f"encoder{i}.fc.weight", f"{encoder}/state/kernel")
        yield reverse(f"attn{i}.attn.weight", f"{decoder}/attention")
        yield copy(f"attn{i}.v.weight", f"{decoder}/score", np.ravel, lambda v: v[None])
        rnn, ends = f"decoder{i}.rnn", ("", "_reverse")
        yield Rule(
            f"{decoder}/kernel",
            tuple(f"{rnn}.weight_ih_l0{end}" for end in ends),
            lambda *both: np.stack([w.T for w in both]),
            lambda kernel: tuple(k.T for k in kernel),
        )
        yield Rule(
            f"{decoder}/bias",
            tuple(f"{rnn}.bias_{k}_l0{end}" for end in ends for k in ("ih", "hh")),
            lambda a, b, c, d: np.stack([a + b, c + d]),
            lambda bias: (bias[0], bias[0], bias[1], bias[1]),
        )
        yield reverse(f"decoder{i}.fc_out.weight", f"{decoder}/out")
        yield copy(f"decoder{i}.fc_out.bias", f"{decoder}/out_bias")
    yield from blocks.lstm("regression.rnn", "lstm")
    yield from blocks.linear("regression.linear", "score")
    yield from blocks.linear("regression.linear2", "head")
