"""Sequences that stay in a store and are read row by row."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

# Rows that are read at once.
_BLOCK = 512
# What was read for other fields of the same rows, by where they are and which.
Seen = dict[tuple[Any, tuple[int, ...]], Any]
# The number of a row and its values [L, D] to new ones.
Change = Callable[[int, np.ndarray], np.ndarray]


class Rows(Protocol):
    """Where the values of rows are, of one field or of several."""

    def read(
        self, index: Sequence[int], field: str, seen: Seen
    ) -> Iterable[np.ndarray]:
        """The values of some rows, [l, D] each, with or without padding.

        Args:
          index: the numbers of the rows.
          field: its name.
          seen: the same dict for all fields of these rows; a row is read once.
        """
        ...


class StoredSequences:
    """Sequences in a store, as much of an array [N, L, D] as the loader needs.

    Taking rows reads them: `sequences[index]` is an array [..., L, D] of rows
    padded with zeros; `take` does so for several fields. `with_length` reads nothing.

    Attributes:
      shape: (N, L, D).
      dtype: of the values.
    """

    def __init__(self, rows: Rows, field: str, shape: tuple[int, ...], dtype: Any):
        self._rows, self._field = rows, field
        self.shape, self.dtype = shape, np.dtype(dtype)

    @property
    def nbytes(self) -> int:
        """Bytes of the padded array."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Any:
        return take({self._field: self}, key)[self._field]

    def with_length(self, length: int) -> "StoredSequences":
        """The same sequences, cut or padded to other steps."""
        shape = (self.shape[0], length, *self.shape[2:])
        return StoredSequences(self._rows, self._field, shape, self.dtype)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)

    def fill(self, padded: np.ndarray, index: np.ndarray, seen: Seen) -> None:
        """Puts rows [n] into zeros [n, L, D]."""
        values = self._rows.read(index.tolist(), self._field, seen)
        for row, value in zip(padded, values, strict=True):
            value = value[: len(row)]
            row[: len(value)] = value

    def rows(self, index: np.ndarray, seen: Seen) -> np.ndarray:
        """Rows [n] as an array [n, L, D]; `seen` as in `Rows`."""
        padded = np.zeros((len(index), *self.shape[1:]), self.dtype)
        self.fill(padded, index, seen)
        return padded


def take(arrays: Mapping[str, Any], key: Any) -> dict[str, Any]:
    """Rows of the arrays of a split, in memory or stored; each is read once for all fields.

    Args:
      arrays: {field: [N, ...]}.
      key: what an array [N] can be indexed by.
    """
    stored = {k: x for k, x in arrays.items() if isinstance(x, StoredSequences)}
    made: dict[str, Any] = {}
    if stored:
        index = np.arange(len(next(iter(stored.values()))))[key]
        flat = index.ravel()
        made = {
            k: np.zeros((len(flat), *x.shape[1:]), x.dtype) for k, x in stored.items()
        }
        for start in range(0, len(flat), _BLOCK):
            part, seen = slice(start, start + _BLOCK), {}
            for k, x in stored.items():
                x.fill(made[k][part], flat[part], seen)
        made = {k: x.reshape(*index.shape, *x.shape[1:]) for k, x in made.items()}
    return {k: made[k] if k in made else x[key] for k, x in arrays.items()}


def in_memory(arrays: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The arrays of a split, those that are stored read as a whole."""
    stored = {k: x for k, x in arrays.items() if isinstance(x, StoredSequences)}
    return {**arrays, **take(stored, slice(None))}


class _Changed:
    """Rows of stored sequences, each changed when it is read."""

    def __init__(self, array: StoredSequences, change: Change):
        self._array, self._change = array, change

    def read(self, index: Sequence[int], field: str, seen: Seen) -> list[np.ndarray]:
        del field
        values = self._array.rows(np.asarray(index, int), seen)
        return [self._change(*row) for row in zip(index, values, strict=True)]


def changed(array: Any, change: Change) -> Any:
    """[N, L, D], in memory or stored, with each row changed; of stored ones nothing is read before they are."""
    if isinstance(array, StoredSequences):
        rows = _Changed(array, change)
        return StoredSequences(rows, array._field, array.shape, array.dtype)
    return np.stack([change(row, value) for row, value in enumerate(array)])


class _Chosen:
    """Rows of arrays [N, L, D] or stored sequences that follow each other, in an order of their own."""

    def __init__(self, parts: Sequence[Any], rows: np.ndarray):
        self._parts = parts
        ends = np.cumsum([len(part) for part in parts])
        self._part = np.searchsorted(ends, rows, side="right")
        self._row = rows - np.concatenate([[0], ends])[self._part]

    def read(self, index: Sequence[int], field: str, seen: Seen) -> list[np.ndarray]:
        del field
        wanted, found = np.asarray(index, int), {}
        for i, part in enumerate(self._parts):
            places = np.flatnonzero(self._part[wanted] == i)
            rows = self._row[wanted[places]]
            stored = isinstance(part, StoredSequences)
            values = part.rows(rows, seen) if stored else part[rows]
            found.update(zip(places.tolist(), values, strict=True))
        return [found[i] for i in range(len(wanted))]


def choose(parts: Sequence[Any], rows: np.ndarray) -> StoredSequences:
    """Rows of sequences of equal steps that follow each other, in memory or stored; reads nothing."""
    stored = next(part for part in parts if isinstance(part, StoredSequences))
    shape = (len(rows), *stored.shape[1:])
    return StoredSequences(_Chosen(parts, rows), stored._field, shape, stored.dtype)
