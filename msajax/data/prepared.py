"""The prepared store on disk: one folder of array_record files and their checksums."""

import contextlib
import hashlib
import io
import json
import math
import os
import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from msajax.data import array_records, json_file, stored
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
_TEXTS = ("id", "raw_text")
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
        stay in the store: their arrays are `StoredSequences`. Then no row is read, but
        of stores that were written before their metadata held lengths and columns.

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
        for name, kept in names.items():
            known = metadata.get("rows", {}).get(name, {})
            records, stays = _Records(made, kept), size > limit
            splits[name] = _split(
                records, shapes[name], known, builder.mask_of, stays=stays
            )
        notes, media = tuple(metadata["notes"]), metadata.get("media", "")
        return Corpus(
            metadata["dataset"], splits, notes, metadata["sha256"], media=media
        )


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


class _Records:
    """The rows of a split; a record holds all fields of one.

    Attributes:
      fields: {name: (shape of a row, dtype)}, sequences with None for their steps.
    """

    def __init__(self, made: Any, name: str):
        from tensorflow_datasets import decode
        from tensorflow_datasets.proto import tf_example_pb2

        raw = decode.DeserializeMethod.RAW_BYTES
        self._source = made.as_data_source(name, deserialize_method=raw)
        self._parse = tf_example_pb2.Example.FromString  # pyright: ignore
        self.fields = {k: (f.shape, f.np_dtype) for k, f in made.info.features.items()}

    def __len__(self) -> int:
        return len(self._source)

    def read(
        self, index: Sequence[int], field: str, seen: stored.Seen
    ) -> list[np.ndarray]:
        key = self, tuple(index)
        if key not in seen:
            seen[key] = self.examples(index)
        return [self.value(example, field) for example in seen[key]]

    def examples(self, index: Sequence[int]) -> list[Any]:
        """Some rows, read and taken apart."""
        return [self._parse(record) for record in self._source.__getitems__(index)]

    def value(self, example: Any, field: str) -> Any:
        """A field of a row: an array of its shape, or bytes."""
        shape, dtype = self.fields[field]
        (content,) = example.features.feature[field].bytes_list.value
        if field in _TEXTS:
            return content
        return np.frombuffer(content, dtype).reshape([n or -1 for n in shape])


def _split(
    records: _Records,
    shapes: dict[str, tuple[int, ...]],
    known: dict[str, list],
    mask_of: Callable[[str], str],
    *,
    stays: bool,
) -> Split:
    """Rows without padding -> arrays.

    Args:
      records: the rows.
      shapes: (N, L, ...) of each sequence.
      known: of the metadata, see `builder.rows_of`; {} of a store of older versions.
      mask_of: the mask field of a sequence.
      stays: the sequences stay where they are.
    """
    budget.spend(_ROW * len(records), f"{len(records)} rows")
    arrays: dict[str, Any] = {}
    for name, shape in shapes.items():
        columns.spend_features(shape[:2] if stays else shape, name=name)
        dtype = records.fields[name][1]
        if stays:
            arrays[name] = stored.StoredSequences(records, name, shape, dtype)
        else:
            arrays[name] = np.zeros(shape, dtype)
    if not stays or known.keys() != records.fields.keys():
        known = _scanned(records, arrays)
    for name, values in known.items():
        if len(values) != len(records):
            raise DataError(f"{len(records)} rows have {len(values)} values of {name}")
    ids, raw_text = (columns.strings(known[name], name=name) for name in _TEXTS)
    found: dict[str, Any] = {}
    for name, (_, dtype) in records.fields.items():
        if name in shapes:
            steps, lengths = shapes[name][1], np.array(known[name])
            if lengths.max(initial=0) > steps:
                raise DataError(f"{name} has more than {steps} steps")
            found[name] = arrays[name]
            found[mask_of(name)] = np.arange(steps) < lengths[:, None]
        elif name not in _TEXTS:
            found[name] = np.array(known[name], dtype)
    return Split(ids, raw_text, found)


def _scanned(records: _Records, arrays: dict[str, Any]) -> dict[str, list]:
    """Reads all rows: of sequences the lengths, of other fields the values; fills arrays."""
    found = {name: [] for name in records.fields}
    for start in range(0, len(records), _BLOCK):
        rows = range(start, min(start + _BLOCK, len(records)))
        for row, example in zip(rows, records.examples(rows), strict=True):
            for name, values in found.items():
                value = records.value(example, name)
                if name in arrays:
                    if isinstance(arrays[name], np.ndarray):
                        arrays[name][row, : len(value)] = value
                    value = len(value)
                values.append(value)
    return found
