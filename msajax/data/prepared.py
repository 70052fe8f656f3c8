"""The prepared store on disk: one folder of array_record files and their checksums."""

import collections
import contextlib
import functools
import hashlib
import io
import json
import math
import os
import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from msajax.data import array_records, json_file
from msajax.data.errors import DataError, decoding
from msajax.data.formats import budget, columns
from msajax.data.spec import Corpus, Split

# Rows that are read at once.
_BLOCK = 512
_ROW = 1000  # bytes of a row while it is a dict of arrays
_KINDS = {
    f"tensorflow_datasets.core.features.{name}"
    for name in (
        "features_dict.FeaturesDict",
        "tensor_feature.Tensor",
        "text_feature.Text",
    )
}
_ADVICE = "prepare the store again"
# Written last: a folder without it is unfinished.
_CHECKSUMS = "checksums.json"


def fingerprint(files: Iterable[str | os.PathLike]) -> str:
    """The sha256 of the bytes of files, one after the other."""
    digest = hashlib.sha256()
    for path in files:
        with open(path, "rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    return digest.hexdigest()


def is_store(folder: str | os.PathLike) -> bool:
    """Whether a folder holds a finished store."""
    return (pathlib.Path(folder) / _CHECKSUMS).is_file()


def write(corpus: Corpus, folder: str | os.PathLike) -> pathlib.Path:
    """Writes a corpus.

    Args:
      corpus: cleaned.
      folder: an empty folder.

    Returns:
      The store, a folder in `folder` that may be moved.

    Raises:
      OSError: the disk is full.
    """
    from msajax.data import builder

    made = builder.MsajaxCorpus(corpus, data_dir=str(folder))
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            made.write()
    except RuntimeError as error:  # the writer's word for a full disk
        raise OSError(str(error)) from error
    store = pathlib.Path(made.data_dir)
    sums = {path.name: fingerprint([path]) for path in sorted(store.iterdir())}
    (store / _CHECKSUMS).write_text(json.dumps(sums, indent=1))
    return store


def load(folder: str | os.PathLike, *, limit: float = math.inf) -> Corpus:
    """The corpus of a store, equal to the one that was written.

    Args:
      folder: of the store.
      limit: sequences that take more bytes than this in memory, all together,
        stay in the store: their arrays are `StoredSequences`.

    Raises:
      DataError: a file of the store is missing or changed.
    """
    folder = pathlib.Path(folder)
    quiet = contextlib.redirect_stdout(io.StringIO())  # of what tfds says of TensorFlow
    damaged = decoding("store", advice=_ADVICE)
    with damaged, budget.of(folder.iterdir()), quiet:
        _verify(folder)
        _check_content(folder)
        import tensorflow_datasets as tfds

        from msajax.data import builder

        made: Any = tfds.builder_from_directory(str(folder))
        metadata = made.info.metadata
        names = {
            name: name if name != "all" else builder.UNSPLIT
            for name in metadata["steps"]
        }
        shapes = {
            name: {
                field: (
                    made.info.splits[names[name]].num_examples,
                    length,
                    *features[1:],
                )
                for field, length in steps.items()
                for features in [made.info.features[field].shape]
            }
            for name, steps in metadata["steps"].items()
        }
        size = sum(
            4 * math.prod(s) for split in shapes.values() for s in split.values()
        )
        splits = {}
        for name, stored in names.items():
            source = functools.partial(made.as_data_source, stored)
            split = _split(source, shapes[name], builder.mask_of, stays=size > limit)
            splits[name] = split
        notes, media = tuple(metadata["notes"]), metadata.get("media", "")
        return Corpus(
            metadata["dataset"], splits, notes, metadata["sha256"], media=media
        )


# The number of a row and its values [L, D] to new ones.
Change = Callable[[int, np.ndarray], np.ndarray]


class StoredSequences:
    """Sequences in a store, as much of an array [N, L, D] as the loader needs.

    Taking rows reads them: `sequences[index]` is an array [..., L, D] of rows
    padded with zeros. `with_length` reads nothing.

    Attributes:
      shape: (N, L, D).
      dtype: of the values.
    """

    def __init__(self, rows: Any, field: str, shape: tuple[int, ...], dtype: Any):
        self._rows, self._field = rows, field
        self.shape, self.dtype = shape, np.dtype(dtype)

    @property
    def nbytes(self) -> int:
        """Bytes of the padded array."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Any:
        index = np.arange(len(self))[key]
        found = self._rows.__getitems__(index.ravel().tolist())
        values = [row[self._field][: self.shape[1]] for row in found]
        padded = _padded(values, self.shape[1:], self.dtype)
        return padded.reshape(*index.shape, *self.shape[1:])

    def with_length(self, length: int) -> "StoredSequences":
        """The same sequences, cut or padded to other steps."""
        shape = (self.shape[0], length, *self.shape[2:])
        return StoredSequences(self._rows, self._field, shape, self.dtype)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)


class _Changed:
    """Rows of stored sequences, each changed when it is read."""

    def __init__(self, array: StoredSequences, field: str, change: Change):
        self._array, self._field, self._change = array, field, change

    def __getitems__(self, index: Sequence[int]) -> list[dict[str, np.ndarray]]:
        values = self._array[np.asarray(index, int)]
        pairs = zip(index, values, strict=True)
        return [{self._field: self._change(row, value)} for row, value in pairs]


def changed(array: Any, change: Change) -> Any:
    """[N, L, D], in memory or stored, with each row changed; of stored ones nothing is read before they are."""
    if isinstance(array, StoredSequences):
        rows = _Changed(array, array._field, change)
        return StoredSequences(rows, array._field, array.shape, array.dtype)
    return np.stack([change(row, value) for row, value in enumerate(array)])


class _Chosen:
    """Rows of arrays [N, L, D] or stored sequences that follow each other, in an order of their own."""

    def __init__(self, parts: Sequence[Any], field: str, rows: np.ndarray):
        self._parts, self._field = parts, field
        ends = np.cumsum([len(part) for part in parts])
        self._part = np.searchsorted(ends, rows, side="right")
        self._row = rows - np.concatenate([[0], ends])[self._part]

    def __getitems__(self, index: Sequence[int]) -> list[dict[str, np.ndarray]]:
        wanted, found = np.asarray(index, int), {}
        for i, part in enumerate(self._parts):
            places = np.flatnonzero(self._part[wanted] == i)
            if len(places):
                values = part[self._row[wanted[places]]]
                found.update(zip(places.tolist(), values, strict=True))
        return [{self._field: found[i]} for i in range(len(wanted))]


def choose(parts: Sequence[Any], rows: np.ndarray) -> StoredSequences:
    """Rows of sequences of equal steps that follow each other, in memory or stored; reads nothing."""
    stored = next(part for part in parts if isinstance(part, StoredSequences))
    chosen = _Chosen(parts, stored._field, rows)
    shape = (len(rows), *stored.shape[1:])
    return StoredSequences(chosen, stored._field, shape, stored.dtype)


def _verify(folder: pathlib.Path) -> None:
    sums = json_file.read(folder / _CHECKSUMS, dict[str, str], advice=_ADVICE)
    for name, checksum in sums.items():
        file = folder / name
        # Neither a file elsewhere nor a device, which may have no end.
        found = file.is_file() and file.parent == folder and fingerprint([file])
        if found != checksum:
            raise DataError(f"the store's file {name} is damaged; prepare it again")


def _check_content(folder: pathlib.Path) -> None:
    """Refuses what `write` does not write: tfds would import any module that a store names."""
    info, features = (
        json_file.read(folder / name, dict[str, Any], advice=_ADVICE)
        for name in ("dataset_info.json", "features.json")
    )
    parts = features["featuresDict"]["features"].values()
    kinds = {part["pythonClassName"] for part in (features, *parts)}
    encodings = {part["tensor"]["encoding"] for part in parts if "tensor" in part}
    formats = {info["fileFormat"]}
    if not (kinds <= _KINDS and encodings <= {"bytes"} and formats == {"array_record"}):
        raise DataError("it holds what msajax does not write; prepare it again")
    for path in folder.glob("*.array_record*"):
        # Of a row tfds makes a record, its parts, and arrays of these.
        budget.spend(8 * array_records.unpacked(path), f"the records of {path.name}")


def _split(
    source: Callable[..., Any],
    shapes: dict[str, tuple[int, ...]],
    mask_of: Callable[[str], str],
    *,
    stays: bool,
) -> Split:
    """Rows without padding -> arrays; `shapes` has the (N, L, ...) of each sequence."""
    from tensorflow_datasets import decode

    rows, found = source(), collections.defaultdict(list)
    budget.spend(_ROW * len(rows), f"{len(rows)} rows")
    for start in range(0, len(rows), _BLOCK):
        for row in rows.__getitems__(range(start, min(start + _BLOCK, len(rows)))):
            for name, value in row.items():
                drop = stays and name in shapes
                found[name].append(len(value) if drop else value)
    ids, raw_text = (
        columns.strings(found.pop(name), name=name) for name in ("id", "raw_text")
    )
    arrays: dict[str, Any] = {}
    for name, values in found.items():
        if name not in shapes:
            arrays[name] = np.array(values)
            continue
        shape = shapes[name]
        columns.spend_features(shape[:2] if stays else shape, name=name)
        if stays:
            lengths = np.array(values)
            others = {k: decode.SkipDecoding() for k in found if k != name}
            one = source(decoders=others)
            dtype = one[0][name].dtype
            arrays[name] = StoredSequences(one, name, shape, dtype)
        else:
            lengths = np.array([len(value) for value in values])
            arrays[name] = _padded(values, shape[1:], values[0].dtype)
        arrays[mask_of(name)] = np.arange(shape[1]) < lengths[:, None]
    return Split(ids, raw_text, arrays)


def _padded(values: list[np.ndarray], shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    array = np.zeros((len(values), *shape), dtype)
    for padded, value in zip(array, values, strict=True):
        padded[: len(value)] = value
    return array
