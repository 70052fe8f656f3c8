"""How tools/bench.py measures: alternating rounds, the machine's matmul rate, operations of a program."""

import functools
import math
import os
import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.extend.core import jaxprs_in_params


def timed(fn: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds that a call takes, and its result."""
    began = time.perf_counter()
    result = fn()
    return time.perf_counter() - began, result


def matmul_flops(jaxpr: Any) -> float:
    """Operations of the matrix products and convolutions of a program.

    XLA's own count takes the body of a loop once, however often it runs; here a
    scan (an LSTM's steps, a Transformer's layers) counts as often as it is long.
    Of the branches of a choice the largest counts.
    """
    total = 0.0
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "dot_general":
            (contracted, _), _ = eqn.params["dimension_numbers"]
            shape = eqn.invars[0].aval.shape
            size = eqn.outvars[0].aval.size
            total += 2 * size * np.prod([shape[i] for i in contracted])
        elif eqn.primitive.name == "conv_general_dilated":
            numbers = eqn.params["dimension_numbers"]
            kernel = eqn.invars[1].aval
            size = eqn.outvars[0].aval.size
            total += 2 * size * kernel.size / kernel.shape[numbers.rhs_spec[0]]
        times = eqn.params.get("length", 1) if eqn.primitive.name == "scan" else 1
        inner = [matmul_flops(jaxpr) for jaxpr in jaxprs_in_params(eqn.params)]
        choice = eqn.primitive.name == "cond"
        total += max(inner, default=0) if choice else times * sum(inner)
    return float(total)


def matmul_rate(dtype: str = "float32") -> float:
    """Operations per second of a large matrix product on this device, at its best."""
    size = 2048 if jax.default_backend() == "cpu" else 8192
    x = jax.random.normal(jax.random.key(0), (size, size), dtype)
    product = jax.jit(lambda a: a @ a)
    jax.block_until_ready(product(x))
    seconds = [timed(lambda: jax.block_until_ready(product(x)))[0] for _ in range(15)]
    return 2 * size**3 / min(seconds)


def cpu_seconds() -> tuple[float, float]:
    """Processor time spent so far: on the whole machine (Linux; else nan), and by this process."""
    own = sum(os.times()[:2])
    try:
        user, nice, system = pathlib.Path("/proc/stat").read_text().split()[1:4]
    except OSError:
        return math.nan, own
    ticks = int(user) + int(nice) + int(system)
    return ticks / os.sysconf("SC_CLK_TCK"), own


def alternate(
    sides: dict[str, Callable], steps: dict[str, int], rounds: int
) -> dict[str, float]:
    """Steps per second of each side: medians over rounds in which all run one after the other.

    Args:
      sides: name to a function that runs a number of steps.
      steps: how many a side runs in a round; once more before the first.
      rounds: how often each runs.

    Returns:
      {name: steps per second}.
    """
    spent = {name: [] for name in sides}
    for i in range(rounds + 1):
        for name, side in sides.items():
            seconds, _ = timed(functools.partial(side, steps[name]))
            if i:
                spent[name].append(seconds)
    return {name: steps[name] / statistics.median(spent[name]) for name in sides}


def steps_in(side: Callable, seconds: float) -> int:
    """How many steps take about so long; the first call of a side compiles and is not timed."""
    side(1)
    once, _ = timed(lambda: side(1))
    some = max(1, min(20, round(seconds / once / 4)))
    spent, _ = timed(lambda: side(some))
    return max(1, round(seconds / spent * some))
