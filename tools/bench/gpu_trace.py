"""Kernels of a step, from a trace that jax.profiler wrote."""

import collections
import pathlib
import re
import tempfile
from collections.abc import Callable
from typing import Any

import jax

# Calls by which the host starts work on a GPU; a graph starts many kernels.
_LAUNCHES = ("cuLaunchKernel", "cudaLaunchKernel", "cuGraphLaunch", "cudaGraphLaunch")
# Operations that stand for those inside of them.
_AROUND = ("while", "call", "conditional")


def trace(run: Callable[[int], Any], steps: int, *, longest: int = 10) -> dict:
    """What a device does in a step.

    Args:
      run: runs a number of steps and waits for them; compiled already.
      steps: to trace.
      longest: how many kernels to name.

    Returns:
      As `summary`.
    """
    with tempfile.TemporaryDirectory() as folder:
        jax.profiler.start_trace(folder)
        try:
            run(steps)
        finally:
            jax.profiler.stop_trace()
        (path,) = pathlib.Path(folder).rglob("*.xplane.pb")
        profile = jax.profiler.ProfileData.from_file(str(path))
    return summary(profile, steps, longest=longest)


def summary(profile: Any, steps: int, *, longest: int = 10) -> dict:
    """Counts and times of a trace, each divided by the number of steps.

    Args:
      profile: a `jax.profiler.ProfileData`, or what has its planes, lines and events.
      steps: that were traced.
      longest: how many kernels to name.

    Returns:
      'kernels' that ran on the device, copies included (on a CPU the operations of
      XLA's programs); 'launches' by the host; 'busy_ms',
      the sum of the kernels' times; and 'longest', lists [name, ms, count] in which
      kernels whose names differ in their number alone are one.

    Raises:
      ValueError: the trace has no kernel.
    """
    spent, counts, launches = collections.Counter(), collections.Counter(), 0
    for plane in profile.planes:
        on_gpu = plane.name.startswith("/device:")
        for line in plane.lines:
            if on_gpu and not line.name.startswith("Stream"):
                continue  # the same kernels again, grouped by module or operation
            for event in line.events:
                launches += not on_gpu and event.name.startswith(_LAUNCHES)
                name = re.sub(r"([._]\d+)+$", "", event.name)
                if on_gpu or _is_operation(event) and name not in _AROUND:
                    spent[name] += event.duration_ns / 1e6
                    counts[name] += 1
    if not counts:
        planes = ", ".join(plane.name for plane in profile.planes)
        raise ValueError(f"the trace has no kernels; its planes: {planes}")
    return {
        "kernels": counts.total() / steps,
        "launches": launches / steps,
        "busy_ms": spent.total() / steps,
        "longest": [
            [name, ms / steps, counts[name] / steps]
            for name, ms in spent.most_common(longest)
        ],
    }


def _is_operation(event: Any) -> bool:
    """Whether it is one of a program of XLA on a CPU."""
    return any(key == "hlo_op" for key, _ in event.stats)
