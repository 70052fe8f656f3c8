"""Measures training and evaluation speed, side by side with the PyTorch package `mmsa` where asked.

    python tools/bench/bench.py --systems tfn,lmf --shapes mosi_aligned --against mmsa
    python tools/bench/bench.py --shapes mosi_aligned --seeds 5
    python tools/bench/bench.py --data clips.npz --dataset mosi --systems mult

All sides run in one process on the same arrays, batch size, hyperparameters and
device, one after the other in each round, and the median of the rounds counts: a
machine that others use too slows all sides alike; where they keep it busy,
--processor-time on one core (OMP_NUM_THREADS=1 taskset -c 0) leaves them out. Needs
jax, flax, optax and pydantic; with --against also torch and the files of mmsa (the
extra `bench`). On a GPU both frameworks are set alike: exact float32 products and
deterministic kernels, as the trainer has them, unless --tf32 and
--nondeterministic allow others.
"""

import argparse
import dataclasses
import functools
import json
import pathlib
import sys
import time
from typing import Any

import numpy as np

# Also runs from a checkout that is not installed.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from msajax import models, parallel
from msajax.data import loader, read
from msajax.data.file_sizes import FILES
from msajax.data.spec import DATASETS, suggest
from msajax.models.base import Model
from msajax.run import model_options, recipe
from msajax.run.options import Options, build
from msajax.train.plan import Phase
from tools.bench import table, timing
from tools.bench.data import ENCODERS, SHAPES, example, real_share, write_example
from tools.bench.ours import Ours, step_flops
from tools.bench.timing import alternate, cpu_seconds, describe, steps_in, timed

NUM_ROWS = FILES["mosi/aligned"].rows[0]  # of CMU-MOSI's training split
BUCKETS = (2, 4)  # of --data


def mmsa_form(system: str) -> dict[str, Any]:
    """Model keys with which a system of ours does the same work as mmsa's."""
    if model_options.encoder_kinds(system):  # hides padding there too
        return {}
    return {"padded": True} | (
        {"position_embedding": False} if system == "mult" else {}
    )


def measure(
    system: str, shape_name: str, args: argparse.Namespace, rate: float
) -> dict[str, Any]:
    """The speeds of a system at a shape.

    Args:
      system: its name, or SYSTEM/ROW for a row of its recipe.
      shape_name: a key of `SHAPES`.
      args: the command line's.
      rate: of the machine's matrix products.

    Returns:
      A line of the tables; of several sides {name: value}, 'msajax' first.
    """
    shape = SHAPES[shape_name]
    options, phase = _recipe(system, shape.dataset, args)
    name = system.partition("/")[0]
    # Against mmsa text is features where a system takes them.
    features = args.against and type(None) in model_options.encoder_kinds(name)
    size = None if features else args.encoder
    spec, arrays, encoder = example(name, shape, NUM_ROWS, size)
    shifted = encoder is not None and hasattr(models.get(name), "align")
    if shifted and len(set(shape.lengths)) > 1:
        # Audio and vision have no row for each piece.
        options = recipe.change(options, {"model.align": True})
    model = build(options, spec, encoder)

    def ours(phase: Phase, **given) -> Ours:
        rows = _whole_batches(phase)
        parts = loader.parts({k: v[:rows] for k, v in arrays.items()}, 1, cut=False)
        precision = args.precision
        return Ours(model, phase, parts, shape.dataset, precision=precision, **given)

    sides: dict[str, Any] = {"msajax": ours(phase)}
    if args.seeds > 1:
        sides["seeds"] = ours(phase, seeds=args.seeds)
        large = dataclasses.replace(phase, batch_size=args.seeds * phase.batch_size)
        sides["large_batch"] = ours(large)
    if args.devices > 1:
        sides["devices"] = ours(phase, devices=args.devices)
    if args.against:
        sides |= _torch_sides(name, model, arrays, phase, args.precision)
    result: dict[str, Any] = {
        "system": system,
        "shape": shape_name,
        "batch": phase.batch_size,
        "form": "padded" if getattr(model, "padded", False) else "masked",
        **({"encoder": args.encoder} if encoder else {}),
        "precision": args.precision,
        **({"seeds": args.seeds} if args.seeds > 1 else {}),
        **({"devices": args.devices} if args.devices > 1 else {}),
        **_speeds(sides, args),
        "flops_per_step": step_flops(model, phase, arrays),
        "compile_seconds": {name: s.compile_seconds for name, s in sides.items()},
        "memory_bytes": {name: s.memory for name, s in sides.items()},
    }
    speed = result["samples_per_second"]["train"]["msajax"] / phase.batch_size
    result["matmul_share"] = speed * result["flops_per_step"] / rate
    steps = result["steps"]["msajax"]
    streamed = ours(phase, resident=False)
    result["wait_share"] = {
        "resident": sides["msajax"].wait_share(steps, args.rounds),
        "streamed": streamed.wait_share(steps, args.rounds),
    }
    return result


def _recipe(
    system: str, dataset: str, args: argparse.Namespace
) -> tuple[Options, Phase]:
    system, slash, row = system.partition("/")
    changes: dict[str, Any] = {"train.batch_size": args.batch} if args.batch else {}
    if args.padded:
        changes |= {f"model.{key}": value for key, value in mmsa_form(system).items()}
    options = recipe.change(recipe.load(f"{system}:{dataset}{slash}{row}"), changes)
    return options, options.plan[-1]  # of several the last: the system itself


def _whole_batches(phase: Phase) -> int:
    """Rows of the split without a last batch that is not full: every step counts alike."""
    return NUM_ROWS - NUM_ROWS % phase.batch_size


def _torch_sides(
    system: str,
    model: Model,
    arrays: dict[str, np.ndarray],
    phase: Phase,
    precision: str,
) -> dict[str, Any]:
    from tools.bench import mmsa_torch

    order = loader.epoch_batches(
        [_whole_batches(phase)], phase.batch_size, order=(0, 0, 0, 0)
    )
    return {
        name: mmsa_torch.Torch(
            mmsa_torch.build(system, model),
            arrays,
            order.rows,
            phase,
            compiled=name == "compiled",
            averaged=system in mmsa_torch.AVERAGED,
            precision=precision,
        )
        for name in ("eager", "compiled")[: 1 if system in mmsa_torch.EAGER else 2]
    }


def _speeds(sides: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """Rows in a second of each side, in training and in evaluation, and msajax's ratios."""
    steps = {name: steps_in(side.train, args.seconds) for name, side in sides.items()}
    # A batch takes about a third of a training step to evaluate.
    batches = {name: 3 * count for name, count in steps.items()}
    for name, side in sides.items():
        if isinstance(side, Ours):
            batches[name] = side.shorten(batches[name])
    passes = {
        "train": ({n: s.train for n, s in sides.items()}, steps),
        "evaluate": ({n: s.evaluate for n, s in sides.items()}, batches),
    }
    before = cpu_seconds()
    spent, found = timed(
        lambda: {k: alternate(*pair, args.rounds) for k, pair in passes.items()},
        time.perf_counter,
    )
    used, own = np.subtract(cpu_seconds(), before)
    speeds = {
        method: {name: speed * sides[name].samples for name, speed in of.items()}
        for method, of in found.items()
    }
    ratios = {
        f"{method}_ratio": {n: of["msajax"] / x for n, x in of.items() if n != "msajax"}
        for method, of in speeds.items()
    }
    return {
        "samples_per_second": speeds,
        **ratios,
        "others_cores": max(0.0, float(used - own) / spent),
        "steps": steps,
        "evaluated_rows": sides["msajax"].evaluated_rows,
    }


def measure_padding(system: str, args: argparse.Namespace) -> dict[str, Any] | None:
    """What a system gains on a file by less padding, in training; None if it depends on it."""
    options, phase = _recipe(system, args.dataset, args)
    corpus = read.read(args.data, dataset=args.dataset)
    spec = loader.make_spec(corpus)
    arrays = loader.pad(corpus.splits.get("train") or corpus.splits["all"], spec)
    model = build(options, spec)
    if model.fixed_length:
        return None
    cuts = {"full": loader.parts(arrays, 1, cut=False), "cut": loader.parts(arrays, 1)}
    cuts |= {f"{count} buckets": loader.parts(arrays, count) for count in BUCKETS}
    sides = {
        name: Ours(model, phase, parts, args.dataset, precision=args.precision)
        for name, parts in cuts.items()
    }
    epochs = {name: side.steps for name, side in sides.items()}
    speeds = alternate({n: s.train for n, s in sides.items()}, epochs, args.rounds)
    seconds = {name: epochs[name] / speed for name, speed in speeds.items()}
    return {
        "system": system,
        "batch": phase.batch_size,
        "rows": len(arrays["label"]),
        "lengths": spec.lengths,
        "precision": args.precision,
        "forms": {
            name: {
                "real_share": real_share(cuts[name]),
                "epoch_seconds": seconds[name],
                "times": seconds["full"] / seconds[name],
                "compile_seconds": side.compile_seconds,
                "memory_bytes": side.memory,
            }
            for name, side in sides.items()
        },
    }


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    args = _parse(argv)
    if args.example:
        write_example(SHAPES[args.shapes[0]], NUM_ROWS, args.example)
        return 0
    parallel.split_processor(args.devices)
    timing.CLOCK = time.process_time if args.processor_time else time.perf_counter
    machine = describe(
        torch=bool(args.against),
        precision=args.precision,
        tf32=args.tf32,
        deterministic=not args.nondeterministic,
    )
    machine["processor_time"] = args.processor_time
    print(", ".join(f"{k} {v}" for k, v in machine.items() if v), flush=True)
    if args.data:
        todo = {
            system: functools.partial(measure_padding, system, args)
            for system in args.systems or _systems(args.dataset, args)
        }
    else:
        rate = machine["matmul_gflops"] * 1e9
        todo = {
            f"{system} {shape}": functools.partial(measure, system, shape, args, rate)
            for shape in args.shapes
            for system in args.systems or _systems(SHAPES[shape].dataset, args)
        }
    results = []
    for name, run in todo.items():
        spent, result = timed(run)
        told = (
            f"measured in {spent:.0f} s" if result else "depends on the padded length"
        )
        print(f"{name}: {told}", file=sys.stderr, flush=True)
        results += [result] if result else []
        if args.json:
            found = {"machine": machine, "results": results}
            pathlib.Path(args.json).write_text(json.dumps(found, indent=2) + "\n")
    (table.show_padding if args.data else table.show)(results)
    return 0


def _systems(dataset: str, args: argparse.Namespace) -> list[str]:
    """All that have a recipe for a dataset, and what the command line asks for."""
    known = recipe.names()
    found = [name for name in models.names() if f"{name}:{dataset}" in known]
    if args.against:
        from tools.bench import mmsa_torch

        return [name for name in found if name in mmsa_torch.SYSTEMS]
    if args.data:  # without a tokenizer a file has no word pieces
        return [name for name in found if not model_options.encoder_kinds(name)]
    return found


def _parse(argv: list[str] | None) -> argparse.Namespace:
    def names(known):
        def parse(text: str) -> list[str]:
            chosen = text.split(",")
            for name in (part.partition("/")[0] for part in chosen):
                if name not in known:
                    raise argparse.ArgumentTypeError(
                        f'unknown "{name}"{suggest(name, known)}'
                    )
            return chosen

        return parse

    parser = argparse.ArgumentParser(description="Measure speed, against mmsa too.")
    every, shapes = models.names(), list(SHAPES)
    precisions = ["float32", "bfloat16"]
    add = parser.add_argument
    add(
        "--systems",
        type=names(every),
        help="a,b/ROW,c; otherwise all that can be measured",
    )
    add("--shapes", type=names(shapes), default=shapes)
    add("--against", choices=["mmsa"], help="also time this package's modules")
    add("--padded", action="store_true", help="work on padding, as mmsa does")
    add("--seeds", type=int, default=1, help="also time so many seeds at once")
    add(
        "--devices",
        type=int,
        default=1,
        help="also time training on so many devices, or cores",
    )
    add("--precision", choices=precisions, default="float32", help="of both sides")
    add("--tf32", action="store_true", help="allow it for float32 products on a GPU")
    add("--nondeterministic", action="store_true", help="allow such kernels on a GPU")
    add("--processor-time", action="store_true", help="count it, not the clock's")
    add("--batch", type=int, default=0, help="0: the recipe's")
    add("--rounds", type=int, default=5)
    add("--seconds", type=float, default=1.0, help="of a side's round")
    add(
        "--encoder", choices=list(ENCODERS), default="minilm", help="size of the text's"
    )
    add("--data", metavar="FILE", help="time less padding on this file instead")
    add("--dataset", choices=sorted(DATASETS), default="mosi", help="of --data")
    add(
        "--example", metavar="FILE", help="write random data of a shape as .npz instead"
    )
    add("--json", metavar="FILE", help="write the results there too")
    args = parser.parse_args(argv)
    datasets = [args.dataset] if args.data else [SHAPES[s].dataset for s in args.shapes]
    for system in args.systems or ():
        for dataset in datasets:
            name = f"{system.partition('/')[0]}:{dataset}"
            if name not in recipe.names():
                parser.error(f"there is no recipe {name}")
        if args.data and model_options.encoder_kinds(system.partition("/")[0]):
            parser.error(f"{system} reads word pieces, which --data does not make")
    others = args.against or args.padded or args.seeds > 1 or args.devices > 1
    if args.data and others:
        options = "--against, --padded, --seeds, --devices"
        parser.error(f"--data is for ours alone: without {options}")
    return args


if __name__ == "__main__":
    sys.exit(main())
