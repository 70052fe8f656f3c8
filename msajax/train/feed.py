"""Splits on their way to the devices: as a whole, or a few batches at a time."""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from msajax import parallel
from msajax.data import stored
from msajax.data.dialogues import PLACES
from msajax.data.loader import Batches

# Steps of one dispatch: between two of them the bar moves, and a signal is heard.
_STEPS = 50
# A dispatch of streamed batches brings about so many bytes along.
_BYTES = 2**26


class Chunk(NamedTuple):
    """The batches of one dispatch, on the devices.

    Attributes:
      data: {field: [n, ...]} of each part; of streamed batches with axes of
        devices (and seeds) in front.
      rows: [devices, ..., steps, B / devices] int32, places in the part's data.
      part: [steps] int32.
      ends: (first, count): the first step's number, and how many steps are
        batches; the rest fills up to a fixed shape.
    """

    data: tuple[dict[str, jax.Array], ...]
    rows: jax.Array
    part: jax.Array
    ends: tuple[jax.Array, jax.Array]


@dataclasses.dataclass(frozen=True)
class Source:
    """A split that batches can be taken from.

    Attributes:
      parts: {field: [n, ...]} of each part (`loader.parts`); on the devices
        where resident, else on the host.
      index: [n] of each part on the host: its rows' places in the split; of
        dialogues [n, U], those of their turns, -1 on padding.
      devices: where the batches go.
      resident: whether the whole split lies on every device.
    """

    parts: tuple[dict[str, Any], ...]
    index: tuple[np.ndarray, ...]
    devices: parallel.Devices
    resident: bool

    @property
    def sizes(self) -> tuple[int, ...]:
        """Rows of each part."""
        return tuple(map(len, self.index))

    def chunks(
        self, batches: Batches, start: int = 0, *, whole: bool = False
    ) -> Iterator[Chunk]:
        """The batches from step `start` on, dispatch by dispatch.

        Streamed ones are read and copied by a thread while the devices are at
        work on those before.

        Args:
          batches: their rows are [..., steps, B].
          start: of the first dispatch.
          whole: a resident split in one dispatch.

        Yields:
          One chunk per dispatch, all of one shape.
        """
        total = len(batches.part)
        if start == total:
            return
        size = total if whole and self.resident else min(_STEPS, total)
        if not self.resident:
            size = min(size, max(1, _BYTES // self._step_bytes(batches)))
        make = functools.partial(self._chunk, batches, size=size)
        with ThreadPoolExecutor(1) as thread:
            coming = thread.submit(make, start)
            for next_start in range(start + size, total + size, size):
                chunk = coming.result()
                if next_start < total:
                    coming = thread.submit(make, next_start)
                yield chunk

    def _step_bytes(self, batches: Batches) -> int:
        (part,) = self.parts
        row = sum(array.nbytes // len(array) for array in part.values())
        return row * batches.rows[..., 0, :].size

    def _chunk(self, batches: Batches, start: int, *, size: int) -> Chunk:
        rows, part = batches
        count = min(size, len(part) - start)
        rows = rows[..., start : start + count, :]
        filler = [(0, 0)] * rows.ndim
        filler[-2] = (0, size - count)
        rows = np.pad(rows, filler, constant_values=-1)
        part = np.pad(part[start : start + count], (0, size - count))
        rows, data = parallel.shard_rows(rows, self.devices), self.parts
        if not self.resident:
            data, rows = _read(self.parts[0], rows)
            data = (parallel.put_shards(data, self.devices),)
        ends = np.int32(start), np.int32(count)
        part, ends = parallel.replicate((part, ends), self.devices)
        return Chunk(data, parallel.put_shards(rows, self.devices), part, ends)


def source(
    parts: Sequence[dict[str, np.ndarray]], devices: parallel.Devices, *, resident: bool
) -> Source:
    """A source over the parts of a split.

    Raises:
      ValueError: several parts of a split that does not stay on the devices.
    """
    if not resident and len(parts) > 1:
        refuse_buckets(len(parts))
    index = tuple(part.get(PLACES, part["index"]) for part in parts)
    placed = tuple({k: v for k, v in part.items() if k != PLACES} for part in parts)
    if resident:  # what stayed in a store is read now
        arrays = [stored.in_memory(part) for part in placed]
        placed = parallel.replicate(tuple(arrays), devices)
    return Source(placed, index, devices, resident)


def refuse_buckets(count: int) -> NoReturn:
    """Says that a streamed split has no buckets."""
    raise ValueError(
        f"config.data.buckets is {count}, but the data is streamed from the host, batch "
        "by batch; set it to 1, or config.data.on_device to 'always'"
    )


def take(data: dict[str, jax.Array], rows: jax.Array) -> dict[str, jax.Array]:
    """The batch of some rows of a part on the device.

    Args:
      data: {field: [n, ...]} with 'index'.
      rows: [B] int32; -1 - i on filler rows, which repeat row i with valid=False.

    Returns:
      {field: [B, ...]} with 'valid'.
    """
    at = jnp.where(rows < 0, ~rows, rows)
    return {name: array[at] for name, array in data.items()} | {"valid": rows >= 0}


def in_order(values: np.ndarray, batches: Batches, source: Source) -> np.ndarray:
    """Outputs of ordered batches, [S, steps, B, ...], as rows of the split, [S, N, ...].

    Of dialogues [S, steps, B, U, ...] as the rows of their utterances.
    """
    places = _places(batches, source)
    places = places[..., : values.shape[3]] if places.ndim > 2 else places
    real = places >= 0
    rows = np.empty(
        (len(values), real.sum(), *values.shape[1 + real.ndim :]), values.dtype
    )
    rows[:, places[real]] = values[:, real]
    return rows


def counts(batches: Batches, source: Source) -> np.ndarray:
    """The number of utterances in each of the ordered batches: [steps]."""
    places = _places(batches, source)
    return (places >= 0).reshape(len(places), -1).sum(1)


def _places(batches: Batches, source: Source) -> np.ndarray:
    """Where the utterances of ordered batches are in the split: [steps, B] or [steps, B, U]; -1 on filler."""
    starts = np.cumsum([0, *source.sizes[:-1]])[batches.part]
    places = np.concatenate(source.index)[starts[:, None] + batches.rows]
    places[batches.rows < 0] = -1
    return places


def _read(
    part: dict[str, np.ndarray], rows: np.ndarray
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Rows [devices, ..., steps, b] of a part, and their places among what was read."""
    at = np.maximum(rows, 0).reshape(*rows.shape[:-2], -1)
    places = np.arange(at.shape[-1], dtype=np.int32).reshape(rows.shape[-2:])
    return stored.take(part, at), np.where(rows < 0, ~places, places)
