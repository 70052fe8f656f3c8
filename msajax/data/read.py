"""Any file of the field as a corpus: its format found from the content, its rows checked."""

import dataclasses
import math
import os
import pathlib
from collections.abc import Collection
from typing import Any

from msajax.data import (
    budget,
    clean,
    columns,
    label_csv,
    mag,
    meld,
    mmsa,
    mult,
    npz,
    pickles,
    prepared,
    tables,
)
from msajax.data.errors import DataError
from msajax.data.spec import DATASETS, MODALITIES, Corpus, suggest

_PICKLES = {"mmsa": mmsa, "mult": mult, "mag": mag}
_OTHERS = {"label_csv": label_csv, "meld": meld, "npz": npz}
FORMATS = (*_PICKLES, *_OTHERS, "store")


def fingerprint(path: str | os.PathLike) -> str:
    """The sha256 of a file that is no prepared store, or of MELD's files."""
    return prepared.fingerprint(meld.files(path).values())


def read(
    path: str | os.PathLike,
    *,
    dataset: str,
    format: str = "",
    labels: bool = True,
    modalities: Collection[str] = MODALITIES,
    limit: float = math.inf,
) -> Corpus:
    """The corpus of a file: cleaned, with masks, checked.

    Args:
      path: file, MELD's folder or a prepared store.
      dataset: name in `DATASETS`: decides the range of the labels, or the classes.
      format: name in `FORMATS`; '' finds it from the content.
      labels: False for files to predict: labels are left out.
      modalities: those to keep.
      limit: of a store, see `prepared.load`.

    Returns:
      The corpus; rows of a file that names no splits are in 'all'. Its notes say
      what was cleaned or left out.

    Raises:
      DataError: whatever is wrong with the names or the file.
    """
    check_names(dataset, format)
    path = pathlib.Path(path)
    try:
        corpus = load(path, dataset=dataset, format=format, labels=labels, limit=limit)
        corpus = clean.select(corpus, modalities, labels=labels)
        if corpus.sha256:  # a prepared store: cleaned when it was written
            return corpus
        return dataclasses.replace(clean.clean(corpus), sha256=fingerprint(path))
    except MemoryError as error:
        raise DataError(f"{path}: needs more memory than there is") from error
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def check_names(dataset: str, format: str = "") -> None:
    """Refuses an unknown dataset or format.

    Raises:
      DataError: names the nearest known one.
    """
    if dataset not in DATASETS:
        raise DataError(f'unknown dataset "{dataset}"{suggest(dataset, DATASETS)}')
    if format and format not in FORMATS:
        raise DataError(f'unknown format "{format}"{suggest(format, FORMATS)}')


def _check_path(path: pathlib.Path) -> None:
    if not path.is_file() and not path.is_dir():
        raise DataError("no such file")
    if path.is_dir() and not meld.files(path) and not prepared.is_store(path):
        raise DataError(
            "is a folder, neither a prepared store nor one with MELD's files "
            "(train_sent_emo.csv, ...); give a file"
        )


def load(
    path: str | os.PathLike,
    *,
    dataset: str,
    format: str = "",
    labels: bool = True,
    limit: float = math.inf,
) -> Corpus:
    """The rows of a file as they are stored: the arguments of `read`, before cleaning."""
    path = pathlib.Path(path)
    _check_path(path)
    format = format or find_format(path)
    if format == "store":
        corpus = prepared.load(path, limit=limit)
        if corpus.dataset != dataset:
            raise DataError(f'holds the dataset "{corpus.dataset}", not "{dataset}"')
        return corpus
    with budget.of(meld.files(path).values()):
        if format in _OTHERS:
            return _OTHERS[format].read(path, dataset=dataset, labels=labels)
        data = pickles.load(path)
        reader = _PICKLES[_structure(data) if format == "pickle" else format]
        return reader.convert(data, dataset=dataset, labels=labels)


def find_format(path: str | os.PathLike) -> str:
    """The format by the first bytes of a file; 'pickle' for all that are pickles.

    Raises:
      DataError: no such file, or none of the formats.
    """
    path = pathlib.Path(path)
    _check_path(path)
    if path.is_dir():
        return "store" if prepared.is_store(path) else "meld"
    with open(path, "rb") as file:
        start = file.read(4)
    if start.startswith(b"PK"):
        return "npz"
    if start.startswith(b"\x80"):  # protocols 2 to 5
        return "pickle"
    names = set(tables.header(path))
    if names.issuperset(meld.COLUMNS):
        return "meld"
    if names.issuperset(label_csv.COLUMNS):
        return "label_csv"
    if start[:1] in (b"(", b"]", b"}"):  # protocols 0 and 1
        return "pickle"
    raise DataError(
        "is no pickle, no npz and no csv with the columns "
        f"{', '.join(label_csv.COLUMNS)} or {', '.join(meld.COLUMNS)}; the formats are "
        f"{', '.join(FORMATS)}"
    )


def _structure(data: Any) -> str:
    """Which of the formats a loaded pickle has."""
    entries, _ = columns.splits(data)
    entry = next(iter(entries.values()))
    if isinstance(entry, list | tuple):
        return "mag"
    is_mult = isinstance(entry, dict) and "labels" in entry
    return "mult" if is_mult else "mmsa"
