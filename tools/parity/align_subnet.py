"""AlignSubNet of thuiar/MMSA: alignment by average pooling, without parameters."""

from typing import Any

import jax.numpy as jnp

from msajax.nn.align import align
from tools.parity.case import Case


def reproduce(case: Case) -> dict[str, Any]:
    """The case's results as our function gives them."""
    inputs = case.group("in/")

    def steps(x):
        return jnp.ones(x.shape[:2], bool)

    results: dict[str, Any] = {"out/text": inputs["text"]}
    for name in ("audio", "vision"):
        x = jnp.asarray(inputs[name])
        results[f"out/{name}"], _ = align(x, steps(x), steps(inputs["text"]))
    return results
