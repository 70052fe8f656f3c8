"""One measurement of tools/bench/gpu.py: a system, a framework and a precision, in a process of its own."""

import contextlib
import dataclasses
import fcntl
import hashlib
import os
import statistics
import sys
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from msajax.data import loader
from msajax.data.file_sizes import FILES
from msajax.run import recipe
from msajax.run.options import build
from msajax.train.plan import Phase
from tools.bench import gpu_trace
from tools.bench.data import SHAPES, Shape, example
from tools.bench.ours import Ours, step_flops
from tools.bench.timing import matmul_rate, steps_in, timed

PRECISIONS = ("bfloat16", "float32", "tf32")
# What XLA is told about kernels whose results change from run to run.
FLAGS = {
    "any": "",
    "exclude": "--xla_gpu_exclude_nondeterministic_ops=true",
    "deterministic": "--xla_gpu_deterministic_ops=true",
}
# Where audio and vision have a row for each word of the text; else unaligned.
ALIGNED = ("msg_mba", "text_only")
_QUICK = {
    True: Shape("mosi", (8, 5, 4), (6, 6, 6)),
    False: Shape("mosi", (8, 5, 4), (6, 9, 7)),
}
_BITS_STEPS = 8
_ROUNDS = 5
_ROWS = FILES["mosi/aligned"].rows[0]


@dataclasses.dataclass(frozen=True)
class Job:
    """What is measured.

    Attributes:
      system: one with a recipe for CMU-MOSI; 'peak' is the device's
        rate of matrix products.
      side: 'jax' (ours), 'eager' or 'compiled' (PyTorch).
      precision: one of `PRECISIONS`.
      seeds: trained at once.
      flags: a key of `FLAGS`.
      run: 1, or 2 for the second process of the same.
      traced: whether kernels are counted.
      bits: whether the parameters after some steps are hashed.
    """

    system: str
    side: str = "jax"
    precision: str = "float32"
    seeds: int = 1
    flags: str = "any"
    run: int = 1
    traced: bool = False
    bits: bool = False

    @property
    def name(self) -> str:
        """For people."""
        parts = [self.system, self.side, self.precision]
        parts += [f"{self.seeds} seeds"] * (self.seeds > 1)
        parts += [f"flags {self.flags}"] * (self.flags != "any")
        return " ".join([*parts, *["again"] * (self.run > 1)])


def measure(job: Job, *, lock: str, seconds: float, quick: bool) -> dict[str, Any]:
    """The result of a job.

    Args:
      job: to do.
      lock: a file that the processes share: they compile at the same time, but each
        is alone on the device while it is timed.
      seconds: of a round.
      quick: at a size that a CPU trains in a moment.
    """
    jax.config.update("jax_default_matmul_precision", "float32")  # as a run
    if job.system == "peak":
        with _turn(lock, alone=True):
            return _peak()
    options = recipe.load(f"{job.system}:mosi")
    if quick:
        options = recipe.change(options, {"train.batch_size": 4})
    phase = options.plan[-1]  # of several the last: the system itself
    aligned = job.system in ALIGNED
    shape = _QUICK[aligned] if quick else SHAPES["mosi_aligned" if aligned else "mosi"]
    rows = 4 * phase.batch_size if quick else _ROWS - _ROWS % phase.batch_size
    size = "tiny" if quick else "base"
    spec, arrays, encoder = example(job.system, shape, rows, size)
    _tell("compiling")
    model = build(options, spec, encoder)
    if job.side == "jax":
        parts = loader.parts(arrays, 1, cut=False)
        with _turn(lock, alone=False):
            side = Ours(
                model, phase, parts, "mosi", seeds=job.seeds, precision=job.precision
            )
            found: dict[str, Any] = {"hash": _hash(side)} if job.bits else {}
        found["flops_per_step"] = job.seeds * step_flops(model, phase, arrays)
        found["device"] = jax.devices()[0].device_kind
    else:
        with _turn(lock, alone=False):
            side, found = _torch(job, model, arrays, phase)
    _tell(f"compiled in {side.compile_seconds:.0f} s")
    with _turn(lock, alone=True):
        _tell("alone on the device")
        steps = steps_in(side.train, seconds)
        spent = [timed(lambda: side.train(steps))[0] for _ in range(_ROUNDS)]
        if job.traced:
            found |= _traced(side, min(steps, 10))
    step_seconds = statistics.median(spent) / steps
    return found | {
        "batch": phase.batch_size,
        "rows_per_second": side.samples / step_seconds,
        "step_ms": 1e3 * step_seconds,
        "spread": (max(spent) - min(spent)) / statistics.median(spent),
        "compile_seconds": side.compile_seconds,
        "memory_bytes": side.memory,
    }


def _tell(text: str) -> None:
    """Where the job is: the end of stderr says what one that was stopped had done."""
    print(f"{time.strftime('%X')} {text}", file=sys.stderr, flush=True)


def _peak() -> dict[str, Any]:
    rates = {}
    for name in PRECISIONS:
        products = "tensorfloat32" if name == "tf32" else "float32"
        jax.config.update("jax_default_matmul_precision", products)
        rates[name] = matmul_rate("bfloat16" if name == "bfloat16" else "float32")
    device = jax.devices()[0].device_kind
    return {"peak": rates, "device": device, "jax": jax.__version__}


def _hash(side: Ours) -> str:
    """A hash of the parameters after some steps from the initial ones."""
    side.train(_BITS_STEPS)
    digest = hashlib.sha256()
    for _, array in sorted(jax.device_get(side.state.params).items()):
        digest.update(np.asarray(array).tobytes())
    return digest.hexdigest()[:16]


def _traced(side: Any, steps: int) -> dict[str, Any]:
    try:
        return {"trace": gpu_trace.trace(side.train, steps)}
    except Exception as error:  # the speed counts without it: said in the table's notes
        return {"trace_failed": f"{type(error).__name__}: {error}"}


def _torch(job: Job, model: Any, arrays: dict, phase: Phase) -> tuple[Any, dict]:
    from tools.bench import mmsa_torch

    mmsa_torch.set_kernels(tf32=job.precision == "tf32", deterministic=False)
    if job.system == "msg_mba":
        module = mmsa_torch.LighterMSGMBA(model)
    else:
        module = mmsa_torch.build(job.system, model)
    rows = loader.epoch_batches(
        [len(arrays["label"])], phase.batch_size, order=(0, 0, 0, 0)
    ).rows
    side = mmsa_torch.Torch(
        module,
        arrays,
        rows,
        phase,
        compiled=job.side == "compiled",
        averaged=job.system in mmsa_torch.AVERAGED,
        precision=job.precision,
    )
    return side, {"device": str(mmsa_torch.device()), "torch": mmsa_torch.VERSION}


@contextlib.contextmanager
def _turn(path: str, *, alone: bool) -> Iterator[None]:
    """Waits until the device may be used: by one process, or by all that do not time."""
    flags = os.O_CREAT | os.O_RDWR
    gate, device = os.open(f"{path}.gate", flags), os.open(path, flags)
    try:
        # One at a time passes the gate, so that none overtakes who waits to be alone.
        fcntl.flock(gate, fcntl.LOCK_EX)
        fcntl.flock(device, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(gate, fcntl.LOCK_UN)
        yield
    finally:
        # Closing alone would leave it to a forked child that has the file open too.
        fcntl.flock(device, fcntl.LOCK_UN)
        os.close(gate)
        os.close(device)
