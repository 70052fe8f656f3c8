"""The devices and processes that a run takes, before JAX is first asked for a device."""

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Iterator

import jax

from msajax import parallel, processes
from msajax.run import compiled
from msajax.run.options import Options, ParallelOptions


def set_up(options: Options) -> None:
    """Settings that JAX reads when it is first asked for a device."""
    if options.deterministic:
        flags = os.environ.get("XLA_FLAGS", "")
        if "--xla_gpu_deterministic_ops=true" not in flags:
            flags = f"{flags} --xla_gpu_deterministic_ops=true".strip()
            os.environ["XLA_FLAGS"] = flags
    parallel.split_processor(options.parallel.devices)
    # On NVIDIA GPUs the default would round the factors of float32 products to TF32.
    jax.config.update("jax_default_matmul_precision", "float32")
    if jax.config.values["jax_compilation_cache_dir"] is None:
        compiled.keep(pathlib.Path("~/.cache/msajax/compiled").expanduser())


def precision_of(options: Options, devices: parallel.Devices) -> str:
    """The precision of a recipe's computation on some devices."""
    if options.precision != "auto":
        return options.precision
    # A CPU has no fast bfloat16 products, and small systems wait for launches, not products.
    half = options.trains_encoder and not parallel.on_cpu(devices)
    return "bfloat16" if half else "float32"


@contextlib.contextmanager
def joined(options: Options) -> Iterator[Options]:
    """Joins the other processes of the run, where the options or the launcher say that there are some.

    Yields:
      The options without the processes' addresses, which are no part of what a workdir
      keeps.
    """
    place = options.parallel
    alone = ParallelOptions(devices=place.devices)
    with processes.joined(place.coordinator, place.num_processes, place.process_id):
        yield dataclasses.replace(options, parallel=alone)
