"""Measures training and evaluation speed, side by side with the PyTorch package `mmsa` where asked.

    python tools/bench.py --systems tfn,lmf --shapes mosi_aligned --against mmsa

Ours is the loop that training runs: many steps per dispatch over rows of data
that lies on the device, with the state donated. All sides run in one process on
the same arrays, batch size, hyperparameters and device, one after the other in
each round, and the median of the rounds counts: a machine that others use too
slows all sides alike. Needs jax, flax, optax, orbax and ml_collections; with
--against also torch and the files of mmsa (the extra `bench`).
"""

import argparse
import functools
import json
import os
import pathlib
import sys
from typing import Any, NamedTuple

import jax
import numpy as np

# Also runs from a checkout that is not installed.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from msajax import config as configs
from msajax import feed, models, parallel, step, train
from msajax.book import Phase
from msajax.data import loader
from msajax.data.spec import DATASETS, Spec, suggest
from tools.timing import (
    alternate,
    cpu_seconds,
    matmul_flops,
    matmul_rate,
    steps_in,
    timed,
)

ROOT = pathlib.Path(__file__).resolve().parent.parent
NUM_ROWS = 1284  # of CMU-MOSI's training split


class Shape(NamedTuple):
    """A dataset's name in configs/, its feature widths and its padded lengths."""

    dataset: str
    dims: tuple[int, int, int]
    lengths: tuple[int, int, int]


SHAPES = {
    "mosi_aligned": Shape("mosi", (768, 5, 20), (50, 50, 50)),
    "mosi": Shape("mosi", (768, 5, 20), (50, 375, 500)),
    "mosei": Shape("mosei", (768, 74, 35), (50, 500, 500)),
    "simsv2": Shape("simsv2", (768, 25, 177), (50, 925, 232)),
}


class Ours:
    """Our side: the trainer's and the evaluation's compiled passes.

    Attributes:
      state: what the next step starts from.
      compile_seconds: of tracing and compiling the training loop.
      memory: bytes that the training loop needs at its peak, data included.
      flops: multiplications and additions of matrix products in a training step.
    """

    def __init__(self, model, phase: Phase, arrays: dict, dataset, *, seeds: int = 1):
        devices = parallel.find_devices(1)
        self._put = functools.partial(parallel.replicate, devices=devices)
        parts = loader.parts(arrays, 1, cut=False)
        self._source = feed.source(parts, devices, resident=True)
        self._program = step.Program(
            model, phase, DATASETS[dataset], self._source, cycles=1, seeds=seeds
        )
        self._size, self._steps = phase.batch_size, self._program.steps
        made = [
            loader.epoch_batches(self._source.sizes, self._size, order=(i, 0, 0, 0))
            for i in range(seeds)
        ]
        rows = np.stack([batches.rows for batches in made])
        self._batches = loader.Batches(rows, made[0].part)
        state = step.init(model, jax.random.key(0))
        fresh = state._replace(opt_state={phase.name: self._program.init(state.params)})
        self.state = self._put(train.stack([fresh] * seeds))
        keys = jax.random.key_data(jax.random.split(jax.random.key(1), seeds))
        self._scale = self._put(np.ones(seeds, np.float32))
        rest = self._put((np.int32(0), keys, np.ones(seeds, bool)))
        self._rest = rest[0], rest[1], self._scale, rest[2]
        chunk = next(self._source.chunks(self._batches))
        lower = self._program.loop.lower
        self.compile_seconds, compiled = timed(
            lambda: lower(self.state, *chunk, *self._rest).compile()
        )
        self.memory = _peak(compiled.memory_analysis())
        batch = {name: array[: self._size] for name, array in arrays.items()}
        self.flops = _step_flops(model, state, phase, batch)

    def train(self, steps: int) -> None:
        """Runs training steps as the trainer does; returns when the device is done."""
        while steps > 0:
            count = min(steps, self._steps)
            for chunk in self._source.chunks(self._batches, self._steps - count):
                self.state, metrics = self._program.loop(
                    self.state, *chunk, *self._rest
                )
            steps -= count
        jax.block_until_ready((self.state, metrics))

    def evaluate(self, steps: int) -> np.ndarray:
        """Predictions of whole splits, as many as are needed for so many steps, on the host."""
        progress = {
            "epoch": np.int32(0),
            "step": np.int32(0),
            "fraction": np.float32(0),
        }
        progress = self._put(progress) | {"lr_scale": self._scale}
        preds = [
            self._program.forward(
                step.variables(self.state), self._source, self._size, progress
            )[0]
            for _ in range(max(1, steps // self._steps))
        ]
        return np.concatenate(preds, axis=1)


def _peak(memory: Any) -> int:
    sizes = memory.argument_size_in_bytes + memory.output_size_in_bytes
    return sizes + memory.temp_size_in_bytes - memory.alias_size_in_bytes


def _step_flops(model, state: step.State, phase: Phase, batch: dict) -> float:
    batch = batch | {"index": np.arange(len(batch["label"]), dtype=np.int32)}
    batch["valid"] = np.ones(len(batch["label"]), bool)
    progress = {"epoch": 0, "step": 0, "fraction": 0.0, "lr_scale": 1.0}

    def loss(params):
        value, _ = model.apply(
            step.variables(state._replace(params=params)),
            batch,
            train=True,
            progress=progress,
            method=phase.loss,
            mutable=True,
            rngs={name: jax.random.key(0) for name in ("params", "dropout")},
        )
        return value[0]

    return matmul_flops(jax.make_jaxpr(jax.grad(loss))(state.params).jaxpr)


def mmsa_form(system: str) -> dict[str, Any]:
    """Model keys with which a system of ours does the same work as mmsa's."""
    return {"padded": True} | (
        {"position_embedding": False} if system == "mult" else {}
    )


def measure(
    system: str, shape_name: str, args: argparse.Namespace, rate: float
) -> dict[str, Any]:
    """One line of the table."""
    shape = SHAPES[shape_name]
    config = configs.load(str(ROOT / "configs" / f"{system}_{shape.dataset}.py"))
    config.train.batch_size = args.batch or config.train.batch_size
    if args.padded:
        config.model.update(mmsa_form(system))
    (phase,) = configs.phases(config)
    size = phase.batch_size
    num_rows = NUM_ROWS - NUM_ROWS % size
    label_range = DATASETS[shape.dataset].label_range
    spec = Spec(shape.dims, shape.lengths, num_rows, label_range)
    arrays = spec.example(num_rows)
    del arrays["index"], arrays["valid"]
    rows = loader.epoch_batches([num_rows], size, order=(0, 0, 0, 0)).rows
    ours = Ours(configs.build(config, spec), phase, arrays, shape.dataset)
    sides: dict[str, Any] = {"msajax": ours}
    if args.against:
        sides |= _torch_sides(system, spec, config.model, arrays, rows, phase)
    before = cpu_seconds()
    spent, speeds = timed(
        lambda: _speeds(sides, args.rounds, args.seconds, epoch=len(rows))
    )
    used, own = np.subtract(cpu_seconds(), before)
    result: dict[str, Any] = {
        "system": system,
        "shape": shape_name,
        "batch": size,
        "form": "padded" if args.padded else "masked",
        "samples_per_second": {
            method: {name: speed * size for name, speed in found.items()}
            for method, found in speeds.items()
        },
        "compile_seconds": {name: s.compile_seconds for name, s in sides.items()},
        "memory_bytes": {name: s.memory for name, s in sides.items()},
        "others_cores": max(0.0, float(used - own) / spent),
        "flops_per_step": ours.flops,
        "matmul_share": speeds["train"]["msajax"] * ours.flops / rate,
    }
    for method, found in speeds.items():
        result[f"{method}_ratio"] = {
            name: found["msajax"] / speed
            for name, speed in found.items()
            if name != "msajax"
        }
    return result


def _torch_sides(system, spec, settings, arrays, rows, phase) -> dict[str, Any]:
    from tools import mmsa_torch

    sides = {}
    for name, compiled in (("eager", False), ("compiled", True)):
        side = mmsa_torch.Torch(
            mmsa_torch.build(system, spec, settings),
            arrays,
            rows,
            phase,
            compiled=compiled,
            averaged=system in mmsa_torch.AVERAGED,
        )
        side.compile_seconds, _ = timed(functools.partial(side.train, 1))
        sides[name] = side
    return sides


def _speeds(
    sides: dict[str, Any], rounds: int, seconds: float, *, epoch: int
) -> dict[str, dict[str, float]]:
    # An evaluation takes about a third of a training step, and whole splits if it can.
    steps = {name: steps_in(side.train, seconds) for name, side in sides.items()}
    thrice = {name: 3 * n for name, n in steps.items()}
    whole = {name: n - n % epoch if n > epoch else n for name, n in thrice.items()}
    train_speeds = alternate({n: s.train for n, s in sides.items()}, steps, rounds)
    evaluations = {name: side.evaluate for name, side in sides.items()}
    return {"train": train_speeds, "evaluate": alternate(evaluations, whole, rounds)}


def show(results: list[dict[str, Any]]) -> None:
    """Prints the table."""
    print(
        f"{'system':8} {'shape':13} {'batch':>5} {'form':6} "
        f"{'train/s':>8} {'eval/s':>8} {'compile':>8} {'memory':>8} {'GFLOP':>7} "
        f"{'matmul':>6}   ratio to eager, compiled: training, evaluation"
    )
    for r in results:
        print(_line(r), flush=True)


def _line(r: dict[str, Any]) -> str:
    speeds = r["samples_per_second"]
    ratios = [
        " ".join(f"{name} {ratio:5.2f}" for name, ratio in r[f"{m}_ratio"].items())
        for m in ("train", "evaluate")
    ]
    return (
        f"{r['system']:8} {r['shape']:13} {r['batch']:5} {r['form']:6} "
        f"{speeds['train']['msajax']:8.0f} {speeds['evaluate']['msajax']:8.0f} "
        f"{r['compile_seconds']['msajax']:6.1f} s {r['memory_bytes']['msajax'] / 1e6:5.0f} MB "
        f"{r['flops_per_step'] / 1e9:7.3f} {r['matmul_share']:6.1%} "
        f"{r['others_cores']:6.2f}   {' | '.join(ratios)}"
    )


NOTES = """\
ratio > 1: msajax is faster. Medians of alternating rounds in one process.
matmul: share of the measured rate of a large float32 matrix product.
others: processor cores that other programs kept busy meanwhile. Anything far from 0 spoils
the ratios: threads that wait for each other (PyTorch's) lose more to it than those that do not.
form masked: ours hides padding, as it does by default; mmsa works on it. form padded
(--padded): ours takes padding for real steps too, as mmsa does: the same work, the fair ratio.
tfn, lmf, lf_dnn: mmsa averages audio and vision over time once, when it loads them; ours in
every step. mmsa's batches are rows of resident arrays here, without its loader's processes."""


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    args = _parse(argv)
    # Two frameworks share a GPU; read when jax looks for its devices.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    device = jax.devices()[0]
    rate = matmul_rate()
    machine = {
        "device": device.device_kind,
        "platform": device.platform,
        "cores": os.cpu_count(),
        "jax": jax.__version__,
        "matmul_gflops": rate / 1e9,
    }
    print(", ".join(f"{k} {v}" for k, v in machine.items()))
    results = []
    for shape in args.shapes:
        for system in args.systems:
            results.append(measure(system, shape, args, rate))
            print(_line(results[-1]), flush=True)
            if args.json:
                found = {"machine": machine, "results": results}
                pathlib.Path(args.json).write_text(json.dumps(found, indent=2) + "\n")
    print()
    show(results)
    print(NOTES)
    return 0


def _parse(argv: list[str] | None) -> argparse.Namespace:
    def names(known):
        def parse(text: str) -> list[str]:
            chosen = text.split(",")
            for name in chosen:
                if name not in known:
                    raise argparse.ArgumentTypeError(
                        f'unknown "{name}"{suggest(name, known)}'
                    )
            return chosen

        return parse

    parser = argparse.ArgumentParser(description="Measure speed, against mmsa too.")
    every, shapes = list(models.names()), list(SHAPES)
    parser.add_argument("--systems", type=names(every), default=every)
    parser.add_argument("--shapes", type=names(shapes), default=shapes)
    parser.add_argument("--against", choices=["mmsa"], help="also time this package")
    parser.add_argument("--padded", action="store_true", help="work on padding too")
    parser.add_argument("--batch", type=int, default=0, help="0: the recipe's")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of a side's round")
    parser.add_argument("--json", metavar="FILE", help="write the results there too")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
