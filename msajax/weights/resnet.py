"""ResNets with bottlenecks of Hugging Face's transformers, and torchvision's names for theirs."""

import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from msajax.weights import blocks
from msajax.weights.table import Rule, Table, copy

# Of the classifier behind the pooled vector, and counts that nothing reads.
_IGNORED = (blocks.BATCHES, r"(fc|classifier\.1)\.(weight|bias)")

_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}
_NAME = re.compile(
    r"encoder\.stages\.(\d+)\.layers\.(\d+)\.layer\.2\.convolution\.weight"
)


def table(depths: Sequence[int], shortcuts: Sequence[bool]) -> Table:
    """The names in a ResNetModel.

    Args:
      depths: bottlenecks of each stage.
      shortcuts: whether the first one of each stage has a convolution as its shortcut.
    """
    return Table(tuple(_rules(depths, shortcuts)), ignored=_IGNORED)


def _rules(depths: Sequence[int], shortcuts: Sequence[bool]) -> Iterator[Rule]:
    yield from _normed("embedder.embedder", "embedder")
    for stage, depth in enumerate(depths):
        for i in range(depth):
            torch, ours = f"encoder.stages.{stage}.layers.{i}", f"stage_{stage}_{i}"
            if i == 0 and shortcuts[stage]:
                yield from _normed(f"{torch}.shortcut", f"{ours}/shortcut")
            for j in range(3):
                yield from _normed(f"{torch}.layer.{j}", f"{ours}/layer_{j}")


def _normed(torch: str, ours: str) -> Iterator[Rule]:
    # [out, in, height, width] -> [height, width, in, out]
    yield copy(
        f"{torch}.convolution.weight",
        f"params/{ours}/convolution/kernel",
        lambda kernel: np.transpose(kernel, (2, 3, 1, 0)),
        lambda kernel: np.transpose(kernel, (3, 2, 0, 1)),
    )
    yield from blocks.batch_norm(f"{torch}.normalization", f"{ours}/normalization")


def state(arrays: Mapping[str, np.ndarray], *, flax: bool) -> dict[str, np.ndarray]:
    """Arrays of any of the usual files by the names of a ResNetModel.

    Args:
      arrays: of transformers (PyTorch or Flax) or of torchvision.
      flax: whether the names are paths in a tree of Flax.
    """
    if flax:
        arrays = dict(_of_flax(path, array) for path, array in arrays.items())
    named = {name.removeprefix("resnet."): array for name, array in arrays.items()}
    if "conv1.weight" in named:
        named = {_of_torchvision(name): array for name, array in named.items()}
    return named


def _of_flax(path: str, array: np.ndarray) -> tuple[str, np.ndarray]:
    *parts, leaf = path.split("/")[1:]  # without params or batch_stats
    if leaf == "kernel":
        array = np.transpose(array, (3, 2, 0, 1) if array.ndim == 4 else None)
    return ".".join([*parts, _LEAVES.get(leaf, leaf)]), array


def _of_torchvision(name: str) -> str:
    """'layer1.0.conv2.weight' -> 'encoder.stages.0.layers.0.layer.1.convolution.weight'."""
    name = re.sub(r"^conv1\.", "embedder.embedder.convolution.", name)
    name = re.sub(r"^bn1\.", "embedder.embedder.normalization.", name)
    found = re.match(r"layer(\d+)\.(\d+)\.(conv|bn|downsample\.)(\d)\.(.*)", name)
    if not found:
        return name
    stage, i, kind, number, leaf = found.groups()
    norm = kind == "bn" or (kind == "downsample." and number == "1")
    place = "shortcut" if kind == "downsample." else f"layer.{int(number) - 1}"
    module = "normalization" if norm else "convolution"
    return f"encoder.stages.{int(stage) - 1}.layers.{i}.{place}.{module}.{leaf}"


def depths(arrays: Mapping[str, np.ndarray]) -> list[int]:
    """The number of bottlenecks of each stage, by the names of a ResNetModel."""
    found: dict[int, int] = {}
    for name in arrays:
        if match := _NAME.fullmatch(name):
            stage = int(match[1])
            found[stage] = max(found.get(stage, 0), int(match[2]) + 1)
    return [found[stage] for stage in sorted(found)]
