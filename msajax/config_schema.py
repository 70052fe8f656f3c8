"""The types in a workdir's config.json; keys that older versions did not write have a default."""

import dataclasses
from typing import Any

from msajax.data.spec import Size
from msajax.optim import Optimizer


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Data:
    dataset: str
    path: str
    variant: str
    format: str
    dims: tuple[Size, ...]
    lengths: tuple[Size, ...]
    truncate: bool
    buckets: Size
    on_device: str
    modalities: tuple[str, ...]
    seed: int
    weak: float = 0.0
    encoding: str = ""
    unlabelled: str = ""
    split: tuple[float, ...] = ()
    fraction: float = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Text:
    encoder: str
    max_length: Size
    frozen: bool
    raw: bool
    words: bool
    vocabulary: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Train:
    seeds: tuple[int, ...]
    seeds_at_once: Size | str
    epochs: Size
    batch_size: Size
    accumulate: Size
    patience: int
    select: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Parallel:
    devices: int
    coordinator: str
    num_processes: int
    process_id: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Checkpoint:
    seconds: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class SavedConfig:
    """The sections of a config; `config.check` looks at what stands in model and phases."""

    system: str
    data: _Data
    text: _Text
    model: dict[str, Any]
    train: _Train
    optimizer: Optimizer
    phases: tuple[dict[str, Any], ...]
    epochs_scale: float | None = None
    init_from: str = ""
    init_parameters: str = ".*"
    cycles: Size
    precision: str
    parallel: _Parallel
    deterministic: bool
    checkpoint: _Checkpoint
