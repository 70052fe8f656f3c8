"""How tools/bench/bench.py measures: the machine, alternating rounds, operations of a program."""

import functools
import math
import os
import pathlib
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.extend.core import jaxprs_in_params

# Of what is compared. `time.process_time`, of all threads, does not count what other
# programs take.
CLOCK: Callable[[], float] = time.perf_counter


def timed(
    fn: Callable[[], Any], clock: Callable[[], float] | None = None
) -> tuple[float, Any]:
    """Seconds that a call takes by a clock (`CLOCK`), and its result."""
    clock = clock or CLOCK
    began = clock()
    result = fn()
    return clock() - began, result


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


def describe(
    *, torch: bool, precision: str, tf32: bool, deterministic: bool
) -> dict[str, Any]:
    """Sets what kernels a GPU may take, in both frameworks alike, and describes the machine.

    Args:
      torch: whether PyTorch is measured too.
      precision: of the computation, and so of the matrix product that is measured.
      tf32: let a GPU round the factors of float32 products.
      deterministic: as the trainer's default.

    Returns:
      What the results were measured on; 'matmul_gflops' is its matmul rate.
    """
    # Read when jax looks for its devices: two frameworks share a GPU's memory.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    if deterministic:
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()
    device = jax.devices()[0]
    tf32 = tf32 and device.platform != "cpu"
    products = {"jax": "tensorfloat32" if tf32 else "float32"}
    jax.config.update("jax_default_matmul_precision", products["jax"])
    versions = {"jax": jax.__version__}
    if torch:
        from tools.bench import mmsa_torch

        versions["torch"] = mmsa_torch.VERSION
        products["torch"] = mmsa_torch.set_kernels(
            tf32=tf32, deterministic=deterministic
        )
    return {
        "device": device.device_kind,
        "platform": device.platform,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **versions,
        "products": products,
        "precision": precision,
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        # Where True, compile times are not to be trusted.
        "compilation_cache": bool(jax.config.values["jax_compilation_cache_dir"]),
        "matmul_gflops": matmul_rate(precision) / 1e9,
    }


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
