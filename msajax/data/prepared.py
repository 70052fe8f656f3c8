"""The prepared store on disk: one folder of array_record files and their checksums."""

import contextlib
import hashlib
import io
import json
import os
import pathlib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from msajax.data.errors import DataError, decoding
from msajax.data.spec import Corpus, Split

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
    import tensorflow_datasets as tfds

    from msajax.data import builder

    tfds.disable_progress_bar()
    made = builder.MsajaxCorpus(corpus, data_dir=str(folder))
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            made.download_and_prepare()
    except RuntimeError as error:  # the writer's word for a full disk
        raise OSError(str(error)) from error
    store = pathlib.Path(made.data_dir)
    sums = {path.name: fingerprint([path]) for path in sorted(store.iterdir())}
    (store / _CHECKSUMS).write_text(json.dumps(sums, indent=1))
    return store


def load(folder: str | os.PathLike) -> Corpus:
    """The corpus of a store, equal to the one that was written.

    Raises:
      DataError: a file of the store is missing or changed.
    """
    _verify(pathlib.Path(folder))
    with decoding("store"):
        import tensorflow_datasets as tfds

        from msajax.data import builder

        made: Any = tfds.builder_from_directory(str(folder))
        metadata = made.info.metadata
        splits = {}
        for name, steps in metadata["steps"].items():
            stored = builder.UNSPLIT if name == "all" else name
            source = made.as_data_source(stored)
            rows = source.__getitems__(range(len(source)))
            splits[name] = _split(rows, steps, builder.mask_of)
        notes = tuple(metadata["notes"])
        return Corpus(metadata["dataset"], splits, notes, metadata["sha256"])


def _verify(folder: pathlib.Path) -> None:
    with decoding("store"):
        sums = json.loads((folder / _CHECKSUMS).read_text())
        for name, checksum in sums.items():
            if fingerprint([folder / name]) != checksum:
                raise DataError(f"the store's file {name} is damaged; prepare it again")


def _split(
    rows: list[dict[str, Any]], steps: dict[str, int], mask_of: Callable[[str], str]
) -> Split:
    """Rows without padding -> [N, ...] arrays, steps giving the L of each sequence."""
    ids = np.array([row.pop("id").decode() for row in rows], str)
    raw_text = np.array([row.pop("raw_text").decode() for row in rows], str)
    arrays = {}
    for name in list(rows[0]):
        values = [row.pop(name) for row in rows]
        if name not in steps:
            arrays[name] = np.array(values)
            continue
        lengths = np.array([len(value) for value in values])
        mask = np.arange(steps[name]) < lengths[:, None]
        arrays[name] = np.zeros((*mask.shape, *values[0].shape[1:]), values[0].dtype)
        for padded, value in zip(arrays[name], values, strict=True):
            padded[: len(value)] = value
        arrays[mask_of(name)] = mask
    return Split(ids, raw_text, arrays)
