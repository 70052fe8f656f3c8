"""The tables that tools/bench/bench.py prints, each with an explanation of its columns."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

_TEXT = ("system", "shape", "form")
_KEYS = (("system", ""), ("shape", ""), ("batch", "rows"), ("form", ""))

_SPEED = """\
train, eval: medians of alternating rounds. eval rows: of the split that a call predicts, fewer
than the training split's where that takes long. compile: of the training loop. memory: the
training loop's peak, with the split that lies on the device. waits: share of the training time in
which the device waits for batches, for a split on the device and for one streamed from the host:
1 - time of dispatches with batches that are there already / time of the same dispatches with
batches drawn, read and copied meanwhile (an upper bound where a round is less than an epoch).
FLOP: of the matrix products and convolutions in a training step. matmul: how fast they run, as a
share of the measured rate of a large matrix product.
form masked: padding is hidden, as by default; padded: taken for real steps, as mmsa does."""

_AGAINST = """\
times: how many times as fast as mmsa's module in eager PyTorch (what it ships) and by
torch.compile; same arrays, batch size, hyperparameters and device, medians of alternating rounds.
mfn, graph_mfn, mfm, mmim: eager alone (their loops over time would be unrolled, their rows are
selected by labels). mfm, mmim: mmsa computes the other terms of the loss in evaluation too. mmim:
text features instead of BERT and entropies on both sides.
others: processor cores that other programs kept busy meanwhile; anything far from 0 spoils the
ratios, since threads that wait for each other (PyTorch's) lose more to it.
form padded: both sides do the same work; masked: ours hides padding, mmsa works on it (not in
text_only, which is transformers' BertModel there: the encoder that mmsa wraps).
tfn, lmf, lf_dnn: mmsa averages audio and vision over time once, when it loads them; ours in every
step. mmsa's batches are rows of resident arrays here, without its loader's worker processes.
on n devices: they share a batch (config.parallel.devices). On a processor each stands for a core,
and PyTorch has the same cores as threads; of GPUs PyTorch has one."""

_SEEDS = """\
Training, the rows of all seeds together. one: a seed alone (so fast are seeds one after the
other). at once: all seeds in one program, each with its own batch and weights. large batch: one
seed whose batch has as many rows. What the large batch gains too comes from more rows in a launch
and larger products, not from seeds as such; but it is another recipe, with fewer updates in an
epoch, and seeds at once are the same recipe. What only the large batch gains is the price of
separate weights: products that cannot be joined, and an update for each."""

_PADDING = """\
epoch: training on the whole split once. real: share of the steps of all modalities that are data;
the rest is padding. full: the file's lengths. cut: without the steps that no row has. n buckets:
n groups of rows of similar lengths (config.data.buckets), each cut by itself; filler rows complete
the last batch of each. times: how many times as fast as full."""


def show(results: Sequence[dict[str, Any]]) -> None:
    """Prints what was measured: speeds, and where they are known, ratios and seeds."""
    _print("Speed", _speed(results), _SPEED)
    if any("eager" in r["train_ratio"] for r in results):
        sides = {"msajax": ""}
        if "devices" in results[0]:
            sides["devices"] = f", on {results[0]['devices']} devices"
        for ours, where in sides.items():
            for method, name in (("train", "Training"), ("evaluate", "Evaluation")):
                title = f"{name} against mmsa{where}"
                _print(title, _against(results, method, ours), "")
        print(_AGAINST, flush=True)
    if any("seeds" in r for r in results):
        _print(f"{results[0]['seeds']} seeds", _seeds(results), _SEEDS)


def show_padding(results: Sequence[dict[str, Any]]) -> None:
    """Prints what cutting the padding saves."""
    columns = [("system", ""), ("batch", "rows"), ("form", ""), ("real", "%")]
    columns += [("epoch", "s"), ("times", ""), ("compile", "s"), ("memory", "MB")]
    lines = [
        [
            *(r["system"], str(r["batch"]), name, f"{100 * form['real_share']:.0f}"),
            *(f"{form['epoch_seconds']:.2f}", f"{form['times']:.2f}"),
            *(f"{form['compile_seconds']:.1f}", f"{form['memory_bytes'] / 1e6:.0f}"),
        ]
        for r in results
        for name, form in r["forms"].items()
    ]
    _print("Padding", (columns, lines), _PADDING)


def _print(title: str, table: tuple[Sequence, Sequence], notes: str) -> None:
    print(f"\n{title}\n{align(*table)}\n{notes}".rstrip(), flush=True)


def align(columns: Sequence[tuple[str, str]], lines: Iterable[Sequence[str]]) -> str:
    """A table under (title, unit); numbers to the right."""
    cells = [[t for t, _ in columns], [unit for _, unit in columns], *lines]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    left = [title in _TEXT for title, _ in columns]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if text else cell.rjust(width)
            for cell, width, text in zip(line, widths, left, strict=True)
        ).rstrip()
        for line in cells
    )


def _keys(r: dict[str, Any]) -> list[str]:
    return [r["system"], r["shape"], str(r["batch"]), r["form"]]


def _speed(results: Sequence[dict[str, Any]]) -> tuple[list, list]:
    columns = [("train", "rows/s"), ("eval", "rows/s"), ("eval rows", "")]
    columns += [("compile", "s"), ("memory", "MB"), ("waits", "%"), ("streamed", "%")]
    columns += [("GFLOP", "a step"), ("matmul", "%")]
    lines = []
    for r in results:
        speeds, waits = r["samples_per_second"], r["wait_share"]
        lines.append(
            [
                *_keys(r),
                f"{speeds['train']['msajax']:.0f}",
                f"{speeds['evaluate']['msajax']:.0f}",
                str(r["evaluated_rows"]),
                f"{r['compile_seconds']['msajax']:.1f}",
                f"{r['memory_bytes']['msajax'] / 1e6:.0f}",
                f"{100 * waits['resident']:.1f}",
                f"{100 * waits['streamed']:.1f}",
                f"{r['flops_per_step'] / 1e9:.3f}",
                f"{100 * r['matmul_share']:.1f}",
            ]
        )
    return [*_KEYS, *columns], lines


def _against(
    results: Sequence[dict[str, Any]], method: str, ours: str
) -> tuple[list, list]:
    names = ("eager", "compiled")
    columns = [(name, "rows/s") for name in ("msajax", *names)]
    columns += [("times", name) for name in names] + [("others", "cores")]
    lines: list[list[str]] = []
    logs: dict[str, list[float]] = {name: [] for name in names}
    for r in results:
        speeds = r["samples_per_second"][method]
        ratios = {n: speeds[ours] / speeds[n] for n in names if n in speeds}
        line = [*_keys(r), f"{speeds[ours]:.0f}"]
        line += [f"{speeds[n]:.0f}" if n in ratios else "" for n in names]
        line += [f"{ratios[n]:.2f}" if n in ratios else "" for n in names]
        lines.append([*line, f"{r['others_cores']:.2f}"])
        for name, ratio in ratios.items():
            logs[name].append(math.log(ratio))
    means = [f"{math.exp(sum(of) / len(of)):.2f}" if of else "" for of in logs.values()]
    lines.append(["geometric", "mean", *[""] * (len(_KEYS) + 1), *means, ""])
    return [*_KEYS, *columns], lines


def _seeds(results: Sequence[dict[str, Any]]) -> tuple[list, list]:
    names = ("msajax", "seeds", "large_batch")
    columns = [("one", "rows/s"), ("at once", "rows/s"), ("large batch", "rows/s")]
    columns += [("at once", "times one"), ("large batch", "times one")]
    columns += [("compile", "s"), ("memory", "MB")]
    eager = "eager" in results[0]["train_ratio"]
    columns += [("at once", "times eager")] * eager
    lines = []
    for r in results:
        one, at_once, large = (r["samples_per_second"]["train"][name] for name in names)
        line = [*_keys(r), *(f"{speed:.0f}" for speed in (one, at_once, large))]
        line += [f"{at_once / one:.2f}", f"{large / one:.2f}"]
        line.append(f"{r['compile_seconds']['seeds']:.1f}")
        line.append(f"{r['memory_bytes']['seeds'] / 1e6:.0f}")
        if eager:
            ratio = at_once / r["samples_per_second"]["train"]["eager"]
            line.append(f"{ratio:.2f}")
        lines.append(line)
    return [*_KEYS, *columns], lines
