"""Compiles a training loop for a GPU that is not there, and counts what a step launches.

    pip install 'jax[cuda12]'
    python tools/bench/gpu_program.py msg_mba --precision bfloat16
    python tools/bench/gpu_program.py mult --seeds 5 --longest 20 --hlo mult.hlo

The same program as `gpu.py` measures: random data of CMU-MOSI's shapes, the recipes of
configs/. Nothing runs, so that there are no times, and XLA chooses its kernels without
trying them: its own products are left out, cuBLAS does all. Counts of two programs made
in this way can be compared. Needs JAX's CUDA plugin; a driver or a GPU it does not need.
"""

import argparse
import collections
import pathlib
import re
import sys
import types
import unittest.mock
from typing import Any, NamedTuple

# Also runs from a checkout that is not installed.
ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies

from msajax.data import loader
from msajax.data.spec import DATASETS
from msajax.models.base import Model
from msajax.run import recipe
from msajax.run.options import build
from msajax.train import step
from msajax.train.plan import Phase
from tools.bench import gpu_job
from tools.bench.data import SHAPES, example

# As XLA describes the card to itself.
_H100 = """
gpu_device_info {
  threads_per_block_limit: 1024  threads_per_warp: 32  threads_per_core_limit: 2048
  shared_memory_per_block: 49152  shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472  core_count: 132  fpus_per_core: 128
  block_dim_limit_x: 2147483647  block_dim_limit_y: 65535  block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000  l2_cache_size: 52428800  clock_rate_ghz: 1.98
  device_memory_size: 84978434048  cuda_compute_capability { major: 9 }
  registers_per_core_limit: 65536  registers_per_block_limit: 65536
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 8 patch: 0 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""
# Trying kernels needs a device; without that not all of XLA's own products compile.
_OPTIONS = {"xla_gpu_autotune_level": 0, "xla_gpu_enable_triton_gemm": False}
# What a GPU does not run.
_FREE = {"parameter", "constant", "get-tuple-element", "tuple", "bitcast", "after-all"}
_SIZES = {
    "pred": 1,
    "s8": 1,
    "u8": 1,
    "bf16": 2,
    "f16": 2,
    "f64": 8,
    "s64": 8,
    "u64": 8,
}
_STEPS = 50  # of a dispatch


class Counts(NamedTuple):
    """What a program launches.

    Attributes:
      kernels: how often each kind runs; those whose names differ in their number alone are one.
      bytes: that the kernels read and write: their arguments and results, of which a kernel
        that takes or replaces a slice moves that alone.
      loops: (name, iterations) of each loop inside; None where the program does not say.
      conditionals: how many there are; their kernels are not counted.
    """

    kernels: collections.Counter[str]
    bytes: int
    loops: list[tuple[str, int | None]]
    conditionals: int


def count(text: str) -> Counts:
    """Counts of an iteration of a compiled program's outermost loop.

    Args:
      text: of `compiled.as_text()`.

    Raises:
      ValueError: the program has no loop.
    """
    parts, entry = _parts(text)
    body = next((_part(x, "body") for x in parts[entry] if _kind(x) == "while"), None)
    if body is None:
        raise ValueError("the program has no loop; give that of a training loop")
    found = Counts(collections.Counter(), 0, [], 0)
    return _add(found, parts, body, 1)


def _add(found: Counts, parts: dict[str, list[str]], name: str, times: int) -> Counts:
    sizes = {_name(line): _bytes(line) for line in parts[name]}
    for line in parts[name]:
        kind = _kind(line)
        if kind in _FREE:
            continue
        if kind == "while":
            known = re.search(r'"known_trip_count":\{"n":"(\d+)"', line)
            turns = int(known[1]) if known else None
            found.loops.append((_part(line, "body"), turns))
            found = _add(found, parts, _part(line, "body"), times * (turns or 1))
        elif kind == "conditional":
            found = found._replace(conditionals=found.conditionals + times)
        elif kind in ("call", "async-start"):
            found = _add(found, parts, _part(line, "(?:to_apply|calls)"), times)
        else:
            target = re.search(r'custom_call_target="([^"]+)"', line)
            own = target[1] if target else _name(line) if kind == "fusion" else kind
            found.kernels[re.sub(r"[.\d]+$", "", own)] += times
            inner = parts[_part(line, "calls")] if kind == "fusion" else []
            moved = _moved(line, sizes, inner)
            found = found._replace(bytes=found.bytes + times * moved)
    return found


def _moved(line: str, sizes: dict[str, int], inner: list[str]) -> int:
    """Bytes that an operation reads and writes; of a fusion with the lines that it consists of."""
    given = [sizes[x] for x in _operands(line) if x in sizes]
    # A library's workspace, s8[...], is not filled.
    written = _bytes(re.sub(r", s8\[\d+\]\S*(?=\) )", "", line, count=1))
    if not inner:
        return sum(given) + written
    own = {_name(x): _bytes(x) for x in inner}
    for x in inner:
        if _kind(x) == "parameter":
            number = int(_result(x)[1].split("(")[1].split(")")[0])
            users = [y for y in inner if _name(x) in _operands(y)]
            parts = [y for y in users if _operands(y)[0] == _name(x)]
            kinds = {_kind(y) for y in parts} if parts == users else set()
            if kinds and kinds <= {"dynamic-slice", "gather"}:
                given[number] = sum(map(_bytes, parts))  # not all of it
            elif kinds == {"dynamic-update-slice"}:
                given[number] = 0  # in place
        elif _kind(x) == "dynamic-update-slice":
            written -= _bytes(x) - own[_operands(x)[1]]
    return sum(given) + written


def _operands(line: str) -> list[str]:
    """The names of an operation's arguments."""
    arguments = _result(line)[1].partition("(")[2].partition(")")[0]
    return re.findall(r"%([\w.\-]+)", arguments)


def _parts(text: str) -> tuple[dict[str, list[str]], str]:
    """The lines of each computation of a program, and the name of the first to run."""
    parts: dict[str, list[str]] = {}
    entry = name = ""
    for line in text.splitlines():
        if head := re.match(r"(ENTRY )?%?([\w.\-]+) .*\{$", line):
            name, entry = head[2], head[2] if head[1] else entry
            parts[name] = []
        elif line.startswith("}"):
            name = ""
        elif name and " = " in line:
            parts[name].append(line.strip().removeprefix("ROOT "))
    return parts, entry


def _name(line: str) -> str:
    return line.split(" = ")[0].lstrip("%")


def _part(line: str, key: str) -> str:
    """The computation that an operation runs."""
    found = re.search(rf"{key}=%?([\w.\-]+)", line)
    assert found, line
    return found[1]


def _result(line: str) -> tuple[str, str]:
    """The type of a result, and what follows."""
    rest, depth = line.split(" = ", 1)[1], 0
    for i, letter in enumerate(rest):
        depth += (letter in "({[") - (letter in ")}]")
        if letter == " " and not depth:
            return rest[:i], rest[i + 1 :]
    return rest, ""


def _kind(line: str) -> str:
    return _result(line)[1].partition("(")[0]


def _bytes(line: str) -> int:
    total = 0
    for kind, dims in re.findall(r"([a-z]+\d*)\[([\d,]*)\]", _result(line)[0]):
        size = int(np.prod([int(n) for n in dims.split(",") if n], dtype=np.int64))
        total += size * _SIZES.get(kind, 4)
    return total


def lower(
    model: Model,
    phase: Phase,
    arrays: dict[str, np.ndarray],
    device: Any,
    *,
    seeds: int,
    precision: str,
) -> jax.stages.Lowered:
    """The trainer's loop over resident data, for a device that need not exist."""
    (part,) = loader.parts(arrays, 1, cut=False)
    source: Any = types.SimpleNamespace(
        devices=[device], sizes=(len(arrays["label"]),), resident=True
    )
    program = step.Program(
        model,
        phase,
        DATASETS["mosi"],
        source,
        cycles=1,
        seeds=seeds,
        precision=precision,
    )
    fresh = step.shapes(model)
    fresh = fresh._replace(
        opt_state={phase.name: jax.eval_shape(program.init, fresh.params)}
    )

    def shape(*dims: int, dtype: Any = jnp.int32) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(dims, dtype)

    state = jax.tree.map(lambda x: shape(seeds, *x.shape, dtype=x.dtype), fresh)
    data = {k: shape(*x.shape, dtype=x.dtype) for k, x in part.items()}
    # What asks for the platform while it is traced.
    with unittest.mock.patch.object(jax, "default_backend", lambda: "gpu"):
        return program.loop.lower(
            state,
            (data,),
            shape(1, seeds, _STEPS, phase.batch_size),
            shape(_STEPS),
            (shape(), shape()),
            shape(),
            shape(seeds, 2, dtype=jnp.uint32),
            {"lr_scale": shape(seeds, dtype=jnp.float32)},
            shape(seeds, dtype=jnp.bool_),
        )


def h100() -> Any:
    """A card to compile for."""
    try:
        made = topologies.get_topology_desc(
            "1x1x1", platform="cuda", target_config=_H100, topology="1x1x1"
        )
    except RuntimeError as error:  # of both kinds: no plugin, or one that does not load
        raise ValueError(
            f"JAX cannot compile for CUDA here ({str(error).splitlines()[0]}); "
            "pip install 'jax[cuda12]'"
        ) from error
    return made.devices[0]


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        description="Count what a training step launches on a GPU, without one."
    )
    add = parser.add_argument
    add("system", help="one with a recipe for CMU-MOSI")
    add("--precision", choices=gpu_job.PRECISIONS, default="float32")
    add("--seeds", type=int, default=1, help="trained at once")
    add("--longest", type=int, default=10, metavar="N", help="kinds of kernels to list")
    add("--hlo", metavar="FILE", help="write the compiled program there")
    args = parser.parse_args(argv)
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_default_matmul_precision", "float32")  # as a run
    try:
        device = h100()
        options = recipe.load(f"{args.system}:mosi")
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    phase = options.plan[-1]
    shape = SHAPES["mosi_aligned" if args.system in gpu_job.ALIGNED else "mosi"]
    spec, arrays, encoder = example(args.system, shape, 4 * phase.batch_size, "base")
    model = build(options, spec, encoder)
    lowered = lower(
        model, phase, arrays, device, seeds=args.seeds, precision=args.precision
    )
    compiled = lowered.compile(compiler_options=_OPTIONS)
    text, memory = compiled.as_text(), compiled.memory_analysis()
    assert text and memory
    if args.hlo:
        pathlib.Path(args.hlo).write_text(text)
    found = count(text)
    several = f", {args.seeds} seeds" if args.seeds > 1 else ""
    print(
        f"{args.system}, {args.precision}, batch {phase.batch_size}{several}, for "
        f"{device.device_kind} (jax {jax.__version__}); a step:"
    )
    print(f"{found.kernels.total():7} kernels")
    for name, number in found.kernels.most_common(args.longest):
        print(f"{number:14} {name}")
    print(f"{found.bytes / 1e9:7.2f} GB read and written")
    print(f"{found.conditionals:7} conditionals, whose kernels are not counted")
    for turns, number in collections.Counter(n for _, n in found.loops).items():
        print(f"{number:7} loops of {turns or 'an unknown number of'} iterations")
    print(f"{memory.temp_size_in_bytes / 1e9:7.2f} GB of temporary memory")
    print(f"{memory.argument_size_in_bytes / 1e9:7.2f} GB of state and data")
    return 0


if __name__ == "__main__":
    sys.exit(main())
