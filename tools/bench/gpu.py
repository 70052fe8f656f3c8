"""Measures training on a GPU: ours and PyTorch, precisions, seeds at once, equal bits.

    python tools/bench/gpu.py --minutes 8 --out gpu.jsonl
    python tools/bench/gpu.py --groups seeds,bits --out more.jsonl
    python tools/bench/gpu.py --show gpu.jsonl more.jsonl

Random data of CMU-MOSI's shapes, the recipes of configs/, random weights (BERT-base
where a recipe fine-tunes BERT). Each measurement is a process of its own with a time
limit: a crash costs one line, and --out keeps what is finished. The processes compile
at the same time, but each is alone on the device while it is timed. The most
important come first; what --minutes leaves out is listed. Needs jax, flax, optax and
what msajax imports for models and recipes (pydantic); for PyTorch's
sides torch, transformers and, for lf_dnn and mult, the files of mmsa.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any

# Also runs from a checkout that is not installed.
ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from tools.bench import gpu_job, gpu_table
from tools.bench.gpu_job import Job

SYSTEMS = ("msg_mba", "text_only", "mult", "mfon", "lf_dnn")
GROUPS = ("speed", "torch", "bits", "seeds")
# Of mfon there is none; that of msg_mba does less (`mmsa_torch.LighterMSGMBA`).
_IN_TORCH = ("msg_mba", "text_only", "mult", "lf_dnn")
# The precision in which a system's bits and seeds are measured.
_OWN = {"msg_mba": "bfloat16", "mult": "float32", "lf_dnn": "float32"}
_BITS = ("msg_mba", "mult")


def plan(groups: list[str], systems: list[str], precisions: list[str]) -> list[Job]:
    """The jobs, the most important first."""

    def speed(system: str) -> list[Job]:
        return [
            Job(
                system,
                precision=p,
                traced=True,
                bits=system in _BITS and p == _OWN[system],
            )
            for p in precisions
        ]

    def torch(system: str) -> list[Job]:
        pairs = [(side, p) for p in precisions for side in ("eager", "compiled")]
        return [Job(system, side, p) for side, p in pairs if system in _IN_TORCH]

    def bits(system: str) -> list[Job]:
        runs = [
            ("any", 2),
            *((f, r) for f in ("exclude", "deterministic") for r in (1, 2)),
        ]
        own = _OWN.get(system, "float32")
        made = [Job(system, precision=own, flags=f, run=r, bits=True) for f, r in runs]
        return made if system in _BITS else []

    def seeds(system: str) -> list[Job]:
        own = _OWN.get(system)
        return [Job(system, precision=own, seeds=n) for n in (5, 10)] if own else []

    order = [("speed", speed, 0, 2), ("torch", torch, 0, 1), ("speed", speed, 2, 5)]
    order += [("bits", bits, 0, 1), ("seeds", seeds, 0, 5)]
    order += [("torch", torch, 1, 5), ("bits", bits, 1, 5)]
    jobs = [Job("peak")]
    for group, make, first, end in order:
        if group in groups:
            jobs += [job for s in SYSTEMS[first:end] if s in systems for job in make(s)]
    return jobs


class Process:
    """A job that runs in a process of its own."""

    def __init__(self, job: Job, lock: str, args: argparse.Namespace):
        """Starts it."""
        self.job, self.began = job, time.monotonic()
        self._stdout, self._stderr = (tempfile.TemporaryFile() for _ in range(2))
        task = {
            "job": dataclasses.asdict(job),
            "options": {"lock": lock, "seconds": args.seconds, "quick": args.quick},
        }
        flags = f"{os.environ.get('XLA_FLAGS', '')} {gpu_job.FLAGS[job.flags]}"
        env = os.environ | {
            "XLA_FLAGS": flags.strip(),
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
            "TF_CPP_MIN_LOG_LEVEL": "2",
        }
        if job.side != "jax":
            env["JAX_PLATFORMS"] = "cpu"  # the GPU's memory is PyTorch's
            env["TORCHINDUCTOR_COMPILE_THREADS"] = "4"  # others compile meanwhile
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--job", json.dumps(task)],
            env=env,
            stdout=self._stdout,
            stderr=self._stderr,
            start_new_session=True,
        )

    @property
    def ended(self) -> bool:
        """Whether there is a result."""
        return self._process.poll() is not None

    def stop(self) -> None:
        """Ends it, and what it started."""
        if not self.ended:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def result(self, failed: str = "") -> dict[str, Any]:
        """The line of the results; `failed` says why it was stopped."""
        read = []
        for file in (self._stdout, self._stderr):
            with file:
                file.seek(0)
                read.append(file.read().decode(errors="replace").strip())
        lines, told = read[0].splitlines(), read[1]
        made = dataclasses.asdict(self.job) | {"seconds": time.monotonic() - self.began}
        status = self._process.returncode
        if not failed and status == 0 and lines:
            return made | json.loads(lines[-1])
        last = told.splitlines()[-1] if told else "no message"
        if failed and told:
            failed = f"{failed} ({last})"
        failed = failed or f"exit status {status}: {last}"
        return made | {"failed": failed, "stderr": told[-3000:]}


def run(jobs: list[Job], args: argparse.Namespace) -> list[dict[str, Any]]:
    """The results of jobs, each written to --out as it comes; a failure is a result."""
    began, waiting = time.monotonic(), list(jobs)
    deadline = began + 60 * args.minutes
    running: list[Process] = []
    results: list[dict[str, Any]] = []

    def keep(result: dict[str, Any]) -> None:
        results.append(result)
        print(
            f"{time.monotonic() - began:4.0f} s  {gpu_table.line(result)}", flush=True
        )
        if args.out:
            with open(args.out, "a") as file:
                file.write(json.dumps(result) + "\n")

    with tempfile.TemporaryDirectory() as folder:
        try:
            while waiting or running:
                now = time.monotonic()
                if now > deadline:
                    for job in waiting:
                        told = "not started: --minutes are over"
                        keep(dataclasses.asdict(job) | {"failed": told})
                    waiting = []
                while waiting and len(running) < args.workers:
                    running.append(Process(waiting.pop(0), f"{folder}/gpu", args))
                for process in list(running):
                    late = now > min(deadline, process.began + args.limit)
                    if late and not process.ended:
                        process.stop()
                        why = "--minutes are" if now > deadline else "--limit is"
                        keep(process.result(f"stopped: {why} over"))
                    elif process.ended:
                        keep(process.result())
                    else:
                        continue
                    running.remove(process)
                time.sleep(0.1)
        finally:
            for process in running:
                process.stop()
    return results


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status: 1 where a job failed."""
    args = _parse(argv)
    if args.job:
        task = json.loads(args.job)
        print(json.dumps(gpu_job.measure(Job(**task["job"]), **task["options"])))
        return 0
    if args.show:
        lines = [x for f in args.show for x in pathlib.Path(f).read_text().splitlines()]
        results = [json.loads(line) for line in lines]
    else:
        jobs = plan(args.groups, args.systems, args.precisions)
        results = run(jobs, args)
    gpu_table.show(results)
    return int(any("failed" in result for result in results))


def _parse(argv: list[str] | None) -> argparse.Namespace:
    def some(known):
        def parse(text: str) -> list[str]:
            chosen = text.split(",")
            if unknown := set(chosen) - set(known):
                raise argparse.ArgumentTypeError(
                    f"unknown {', '.join(sorted(unknown))}; choose from {', '.join(known)}"
                )
            return chosen

        return parse

    parser = argparse.ArgumentParser(description="Measure training on a GPU.")
    add, precisions = parser.add_argument, list(gpu_job.PRECISIONS)
    add("--groups", type=some(GROUPS), default=list(GROUPS), help=",".join(GROUPS))
    add("--systems", type=some(SYSTEMS), default=list(SYSTEMS), help=",".join(SYSTEMS))
    add(
        "--precisions",
        type=some(precisions),
        default=precisions,
        help=",".join(precisions),
    )
    add("--minutes", type=float, default=8.0, help="after these what runs is stopped")
    add(
        "--limit", type=float, default=240.0, help="seconds of a process, its waits too"
    )
    add("--workers", type=int, default=6, help="processes at the same time")
    add("--seconds", type=float, default=0.4, help="of a round of five")
    add("--out", metavar="FILE", help="append each result there, as a line of JSON")
    add("--quick", action="store_true", help="a tiny size, to try it on a CPU")
    add("--show", metavar="FILE", nargs="+", help="print the tables of such files")
    add("--job", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
