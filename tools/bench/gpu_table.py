"""The tables that tools/bench/gpu.py prints."""

from collections.abc import Sequence
from typing import Any

from tools.bench.gpu_job import Job
from tools.bench.table import align

Result = dict[str, Any]

_NOTES = """\
rows: in a second, those of all seeds together; medians of five rounds. spread: (slowest - fastest
round) / median. peak: FLOP of the step's matrix products and convolutions, what is computed again
included, as a share of the measured rate of a large product in this precision. kernels: that ran on
the device in a step, copies too. launches: by the host; a graph of many kernels is one. busy:
the kernels' times / the step's. memory: the program's peak with its data (PyTorch: allocated).
eager, compiled: PyTorch; msg_mba's is lighter, BertModel, two LSTMs and a head without gates and
adjustment; mfon has none. times: ours / theirs, one seed's or all seeds' rows in the same precision."""


def line(result: Result) -> str:
    """A result in a line, for the progress of a run."""
    if "failed" in result:
        return f"{_job(result).name}: FAILED: {result['failed'][:300]}"
    if "peak" in result:
        rates = (f"{k} {v / 1e12:.1f}" for k, v in result["peak"].items())
        return f"{result['device']}: products at {', '.join(rates)} TFLOP/s"
    told = f"; no trace: {result['trace_failed']}" if "trace_failed" in result else ""
    return f"{_job(result).name}: {result['rows_per_second']:.0f} rows/s{told}"


def show(results: Sequence[Result]) -> None:
    """Prints what was measured, and last what was not."""
    peak = next((r["peak"] for r in results if "peak" in r), {})
    measured = [r for r in results if "rows_per_second" in r]
    for result in measured:
        if "trace" in result:
            _show_kernels(result)
    if measured:
        print(f"\nTraining\n{_speed(measured, peak)}\n{_NOTES}")
    if any("hash" in r for r in measured):
        print(f"\nRun to run\n{_bits(measured)}")
    failed = [r for r in results if {"failed", "trace_failed"} & set(r)]
    print(f"\nFailed: {len(failed)} of {len(results)}")
    for result in failed:
        print(line(result), flush=True)


def _job(result: Result) -> Job:
    return Job(**{name: result[name] for name in Job.__dataclass_fields__})


def _show_kernels(result: Result) -> None:
    print(
        f"\n{_job(result).name}: longest kernels of a step of {result['step_ms']:.3f} ms"
    )
    for name, ms, count in result["trace"]["longest"]:
        print(f"{ms:9.4f} ms {count:7.1f} x  {name[:76]}")


def _speed(results: Sequence[Result], peak: dict[str, float]) -> str:
    columns = [
        ("system", ""),
        ("side", ""),
        ("precision", ""),
        ("seeds", ""),
        ("batch", ""),
    ]
    columns += [
        ("train", "rows/s"),
        ("step", "ms"),
        ("spread", "%"),
        ("GFLOP", "a step"),
    ]
    columns += [("peak", "%"), ("kernels", "a step"), ("launches", "a step")]
    columns += [("busy", "%"), ("compile", "s"), ("memory", "MB")]
    columns += [("times", "eager"), ("times", "compiled")]
    plain = [r for r in results if r["flags"] == "any" and r["run"] == 1]
    theirs = {(r["system"], r["side"], r["precision"]): r for r in plain}

    def times(r: Result, side: str) -> str:
        other = theirs.get((r["system"], side, r["precision"]))
        if r["side"] != "jax" or other is None:
            return ""
        return f"{r['rows_per_second'] / other['rows_per_second']:.2f}"

    def cells(r: Result) -> list[str]:
        trace, flops = r.get("trace"), r.get("flops_per_step")
        rate = peak.get(r["precision"])
        share = flops and rate and flops / (r["step_ms"] / 1e3) / rate
        return [
            *(r["system"], r["side"], r["precision"], str(r["seeds"]), str(r["batch"])),
            *(f"{r['rows_per_second']:.0f}", f"{r['step_ms']:.3f}"),
            f"{100 * r['spread']:.0f}",
            f"{flops / 1e9:.2f}" if flops else "",
            f"{100 * share:.1f}" if share else "",
            f"{trace['kernels']:.0f}" if trace else "",
            f"{trace['launches']:.0f}" if trace else "",
            f"{100 * trace['busy_ms'] / r['step_ms']:.0f}" if trace else "",
            *(f"{r['compile_seconds']:.1f}", f"{r['memory_bytes'] / 1e6:.0f}"),
            *(times(r, "eager"), times(r, "compiled")),
        ]

    order = sorted(plain, key=lambda r: (r["system"], r["seeds"], r["precision"]))
    return align(columns, [cells(r) for r in order])


def _bits(results: Sequence[Result]) -> str:
    groups: dict[tuple[str, str, str], list[Result]] = {}
    for r in results:
        if "hash" in r:
            key = r["system"], r["precision"], r["flags"]
            groups.setdefault(key, []).append(r)
    columns = [("system", ""), ("precision", ""), ("flags", ""), ("runs", "")]
    columns += [("bits", ""), ("train", "rows/s"), ("cost", "%")]
    lines = []
    for (system, precision, flags), runs in groups.items():
        speed = max(r["rows_per_second"] for r in runs)
        base = groups.get((system, precision, "any"), ())
        fastest = max((r["rows_per_second"] for r in base), default=0.0)
        same = "equal" if len({r["hash"] for r in runs}) == 1 else "DIFFER"
        lines.append(
            [
                *(system, precision, flags, str(len(runs))),
                same if len(runs) > 1 else "one run",
                f"{speed:.0f}",
                f"{100 * (1 - speed / fastest):.1f}" if fastest else "",
            ]
        )
    return align(columns, lines)
