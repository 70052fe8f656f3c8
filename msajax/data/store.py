"""Corpora by name or by file: prepared stores, and a cache of converted files."""

import dataclasses
import hashlib
import math
import os
import pathlib
import re
from collections.abc import Callable, Collection

import numpy as np
from absl import logging

from msajax.data import parts, prepared, read, stored
from msajax.data.errors import DataError
from msajax.data.formats import budget, npz
from msajax.data.spec import MODALITIES, Corpus, suggest

# Raise it when a reader's result changes: older entries of the cache are then left.
_VERSION = 3
# A source of up to this many bytes is read faster than tfds is imported.
_SMALL = 2**25


def prepare(
    source: str | os.PathLike,
    *,
    dataset: str,
    name: str,
    format: str = "",
    encoding: str = "",
    root: str | os.PathLike | None = None,
) -> pathlib.Path:
    """Converts a file into the store of that name, in place of an older one.

    Args:
      source: file, or MELD's folder.
      dataset: name in `DATASETS`.
      name: of the store, for example 'mosi/unaligned'.
      format: of the source; '' finds it from the content.
      encoding: of its text, see `read.read`.
      root: folder of the stores; else the environment's MSAJAX_DATA, else
        ~/.cache/msajax.

    Returns:
      The folder of the store.

    Raises:
      DataError: a source that cannot be read, or a name that is none.
      OSError: the store cannot be written.
    """
    if not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)*", name):
        raise DataError(
            f'"{name}" is no name for a store, which is like mosi/unaligned'
        )
    state = _state(source)
    corpus = read.read(
        source, dataset=dataset, format=format, encoding=encoding, lazily=True
    )
    folder = _root(root) / name
    _install(corpus, folder, _root(root), source, state)
    return folder


def open_corpus(
    path: str | os.PathLike,
    *,
    dataset: str,
    format: str = "",
    labels: bool = True,
    modalities: Collection[str] = MODALITIES,
    limit: float = math.inf,
    encoding: str = "",
    root: str | os.PathLike | None = None,
) -> Corpus:
    """The corpus of a file, of a store's folder or of a store's name.

    A large file is converted on first use into a cache, which later uses read.

    Args:
      path: file, folder or name.
      dataset: name in `DATASETS`.
      format: of a file; '' finds it from the content.
      labels: False for files to predict: labels are left out.
      modalities: those to keep.
      limit: sequences that take more bytes in memory stay in their store and are
        read row by row, see `prepared.load`.
      encoding: of a file's text, see `read.read`.
      root: as in `prepare`.

    Returns:
      The corpus as `read.read` returns it.

    Raises:
      DataError: nothing of that name, or a file that cannot be used.
    """
    options = {"dataset": dataset, "labels": labels, "modalities": modalities}
    options["limit"] = limit
    read.check_names(dataset, format, encoding)
    found = find(path, root=root)
    if not os.path.exists(path):
        return read.read(found, **options)
    if labels and found.is_file() and found.stat().st_size > _SMALL:
        source = path, dataset, format, encoding
        return _cached(*source, modalities, limit, _root(root))
    return read.read(path, format=format, encoding=encoding, **options)


def find(
    path: str | os.PathLike, *, root: str | os.PathLike | None = None
) -> pathlib.Path:
    """Where a file, a store's folder or the store of a name lies; root as in `prepare`.

    Raises:
      DataError: nothing of that name.
    """
    if os.path.exists(path):
        return pathlib.Path(path)
    store = _root(root) / path
    if prepared.is_store(store):
        return store
    known = [p.parent for p in _root(root).glob("*/**/checksums.json")]
    names = [str(p.relative_to(_root(root))) for p in known]
    raise DataError(
        f"{path}: no such file, and no prepared store of that name"
        f"{suggest(str(path), [n for n in names if not n.startswith('cache/')])}; "
        "give the path of a file (config.data.path), or make the store with "
        "tools/prepare_data.py"
    )


def cache(root: str | os.PathLike | None) -> pathlib.Path:
    """The folder of what can be made again; root as in `prepare`."""
    return _root(root) / "cache"


def kept(
    path: pathlib.Path, make: Callable[[], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Arrays of a file in the cache; made, and written there, where it is absent or damaged."""
    if path.exists():
        try:
            with budget.of([path]):
                return npz.load(path)
        except DataError as error:
            logging.warning("%s: %s; it is made again", path, error)
    arrays = make()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with parts.replacing(path) as part, open(part, "xb") as file:
            np.savez(file, **arrays)  # pyright: ignore
    except OSError as error:
        logging.warning("%s is not kept, and will be made again: %s", path, error)
    return arrays


def _cached(
    path: str | os.PathLike,
    dataset: str,
    format: str,
    encoding: str,
    modalities: Collection[str],
    limit: float,
    root: pathlib.Path,
) -> Corpus:
    identity = (
        read.fingerprint(path),
        dataset,
        format,
        encoding,
        sorted(modalities),
        _VERSION,
    )
    folder = cache(root) / hashlib.sha256(repr(identity).encode()).hexdigest()[:32]
    if prepared.is_store(folder):
        try:
            return prepared.load(folder, limit=limit)
        except DataError as error:
            logging.warning("%s: %s; it is made again", folder, error)
    options = {"format": format, "encoding": encoding, "modalities": modalities}
    state = _state(path)
    corpus = read.read(path, dataset=dataset, **options, lazily=True)
    try:
        _install(corpus, folder, root, path, state)
    except OSError as error:
        logging.warning("%s is not cached, and will be read again: %s", path, error)
        return _within(corpus, limit)
    # A run must not depend on whether the cache was there: this is what later ones use.
    return prepared.load(folder, limit=limit)


def _within(corpus: Corpus, limit: float) -> Corpus:
    """A corpus in memory, if its sequences take no more bytes than a limit."""
    arrays = [x for split in corpus.splits.values() for x in split.arrays.values()]
    kept = [x for x in arrays if isinstance(x, stored.StoredSequences)]
    if sum(x.nbytes for x in kept) > limit:
        return corpus
    splits = {
        name: dataclasses.replace(split, arrays=stored.in_memory(split.arrays))
        for name, split in corpus.splits.items()
    }
    return dataclasses.replace(corpus, splits=splits)


def _state(source: str | os.PathLike) -> list[tuple[int, int]]:
    """Size and time of change of each file of a source."""
    found = [file.stat() for file in read.files(source) if file.exists()]
    return [(x.st_size, x.st_mtime_ns) for x in found]


def _install(
    corpus: Corpus,
    folder: pathlib.Path,
    root: pathlib.Path,
    source: str | os.PathLike,
    state: list[tuple[int, int]],
) -> None:
    """Writes a store beside its place, then moves it there; what killed writers left goes first.

    A large source is read several times, so that its state must still be the one given.
    """
    for home in (root, *root.glob("*/")):
        parts.sweep(home)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with parts.beside(folder) as new:
        new.mkdir()
        written = prepared.write(corpus, new)
        if _state(source) != state:
            raise DataError(
                f"{source} changed while it was converted; run again when nothing writes to it"
            )
        parts.settle(written, folder)


def _root(root: str | os.PathLike | None) -> pathlib.Path:
    default = pathlib.Path.home() / ".cache" / "msajax"
    return pathlib.Path(root or os.environ.get("MSAJAX_DATA") or default)
