"""Any file of the field as a corpus: its format found from the content, its rows checked."""

import dataclasses
import itertools
import math
import os
import pathlib
import re
from collections.abc import Collection
from typing import Any

from msajax.data import clean, prepared
from msajax.data.errors import DataError
from msajax.data.formats import (
    budget,
    columns,
    conversations,
    decode,
    kinds,
    label_csv,
    mag,
    meld,
    mmsa,
    mult,
    npz,
    pickles,
    structure,
    tables,
)
from msajax.data.spec import DATASETS, MODALITIES, Corpus, suggest

_PICKLES = {"mmsa": mmsa, "mult": mult, "mag": mag, "conversations": conversations}
_OTHERS = {"label_csv": label_csv, "meld": meld, "npz": npz}
_LOOKED_AT = 1000  # files of a folder
FORMATS = (*_PICKLES, *_OTHERS, "store")


def fingerprint(path: str | os.PathLike) -> str:
    """The sha256 of a file that is no prepared store, or of several (`files`)."""
    return prepared.fingerprint(files(path))


def files(path: str | os.PathLike) -> list[pathlib.Path]:
    """The files that a path stands for: MELD's in a folder, or itself and COMET's beside it."""
    found = [*meld.files(path).values()]
    beside = conversations.beside(path)
    return [*found, beside] if beside else found


def read(
    path: str | os.PathLike,
    *,
    dataset: str,
    format: str = "",
    labels: bool = True,
    modalities: Collection[str] = MODALITIES,
    limit: float = math.inf,
    encoding: str = "",
    lazily: bool = False,
) -> Corpus:
    """The corpus of a file: cleaned, with masks, checked.

    Args:
      path: file, MELD's folder or a prepared store.
      dataset: name in `DATASETS`: decides the range of the labels, or the classes.
      format: name in `FORMATS`; '' finds it from the content.
      labels: False for files to predict: labels are left out.
      modalities: those to keep.
      limit: of a store, see `prepared.load`.
      encoding: of texts that are no UTF-8, as Python names it; '' for none.
      lazily: sequences stay in the file, see `clean.clean`; it must not change.

    Returns:
      The corpus; rows of a file that names no splits are in 'all'. Its notes say
      what was cleaned or left out.

    Raises:
      DataError: whatever is wrong with the names or the file.
    """
    check_names(dataset, format, encoding)
    path = pathlib.Path(path)
    options = {"format": format, "labels": labels, "limit": limit}
    try:
        corpus = load(path, dataset=dataset, encoding=encoding, **options)
        corpus = clean.select(corpus, modalities, labels=labels)
        if corpus.sha256:  # a prepared store: cleaned when it was written
            return corpus
        return dataclasses.replace(
            clean.clean(corpus, lazily=lazily), sha256=fingerprint(path)
        )
    except MemoryError as error:
        raise DataError(f"{path}: needs more memory than there is") from error
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def check_names(dataset: str, format: str = "", encoding: str = "") -> None:
    """Refuses an unknown dataset, format or encoding.

    Raises:
      DataError: names the nearest known one.
    """
    if dataset not in DATASETS:
        raise DataError(f'unknown dataset "{dataset}"{suggest(dataset, DATASETS)}')
    if format and format not in FORMATS:
        raise DataError(f'unknown format "{format}"{suggest(format, FORMATS)}')
    decode.check_encoding(encoding)


def _check_path(path: pathlib.Path) -> None:
    """Refuses what is no file, and files of other kinds."""
    if path.is_symlink() and not path.exists():
        raise DataError(
            f"is a link to {os.readlink(path)}, which is not there; copy the file "
            "itself (of a git-annex repository: `git annex get`, `datalad get`)"
        )
    if not path.is_file() and not path.is_dir():
        raise DataError("no such file")
    if path.is_dir() and prepared.is_store(path):
        return
    found = files(path)
    if not found:
        raise DataError(_folder(path))
    for file in found:
        if what := kinds.foreign(file):
            raise DataError(what if file == path else f"{file.name} {what}")


def _folder(path: pathlib.Path) -> str:
    """What to do with a folder that is none of ours."""
    if (path / "dataset_info.json").is_file():
        return (
            "is an unfinished prepared store; make it again with tools/prepare_data.py"
        )
    found, others = [], []
    for file in itertools.islice(path.rglob("*"), _LOOKED_AT):
        if not file.is_file():
            continue
        name = file.relative_to(path)
        try:
            find_format(file)
            found.append(str(name))
        except (DataError, OSError) as error:
            others.append(f"{name} {error}")
    if found:
        more = f", ... ({len(found)} in all)" if len(found) > 5 else ""
        advice = f"give one of its files: {', '.join(sorted(found)[:5])}{more}"
    elif others:
        advice = f"none of its files can be read; {min(others)}"
    else:
        advice = "it is empty; give a file"
    return (
        "is a folder, neither a prepared store nor one with MELD's files "
        f"(train_sent_emo.csv, ...); {advice}"
    )


def load(
    path: str | os.PathLike,
    *,
    dataset: str,
    format: str = "",
    labels: bool = True,
    limit: float = math.inf,
    encoding: str = "",
) -> Corpus:
    """The rows of a file as they are stored: the arguments of `read`, before cleaning."""
    path = pathlib.Path(path)
    _check_path(path)
    format = format or find_format(path, encoding)
    if format == "store":
        corpus = prepared.load(path, limit=limit)
        if corpus.dataset != dataset:
            raise DataError(f'holds the dataset "{corpus.dataset}", not "{dataset}"')
        return corpus
    decoder = decode.Decoder(encoding)
    with budget.of(files(path)):
        if format in _OTHERS:
            reader = _OTHERS[format].read
            corpus = reader(path, dataset=dataset, decoder=decoder, labels=labels)
        else:
            data = pickles.load(path)
            format = structure.format_of(data) if format == "pickle" else format
            options: dict[str, Any] = {}
            if format == "conversations" and (beside := conversations.beside(path)):
                options["sense"] = beside.name, pickles.load(beside)
            reader = _PICKLES[format].convert
            corpus = reader(
                data, dataset=dataset, decoder=decoder, labels=labels, **options
            )
    return dataclasses.replace(corpus, notes=(*corpus.notes, *decoder.notes))


def find_format(path: str | os.PathLike, encoding: str = "") -> str:
    """The format by the first bytes of a file; 'pickle' for all that are pickles.

    Raises:
      DataError: no such file, or none of the formats.
    """
    path = pathlib.Path(path)
    _check_path(path)
    if path.is_dir():
        return "store" if prepared.is_store(path) else "meld"
    with open(path, "rb") as file:
        start = file.read(2**8)
    if start.startswith(b"PK"):
        return "npz"
    if start.startswith(b"\x80"):  # protocols 2 to 5
        return "pickle"
    names = set(tables.header(path, encoding))
    if names.issuperset(meld.COLUMNS):
        return "meld"
    if names.issuperset(label_csv.COLUMNS):
        return "label_csv"
    if re.match(rb"[(\]}]|c[\w.]+\n\w+\n", start):  # protocols 0 and 1
        return "pickle"
    raise DataError(_unknown(path, encoding))


def _unknown(path: pathlib.Path, encoding: str) -> str:
    """What to say of a file without a known beginning."""
    wanted = (
        f"a csv needs the columns {', '.join(label_csv.COLUMNS)} (label_csv) or "
        f"{', '.join(meld.COLUMNS)} (meld)"
    )
    with open(path, "rb") as file:
        start = file.read(2**10)
    text = decode.beginning(start, encoding)
    if re.search("[\x00-\x08\x0e-\x1f]", text):
        return (
            f"is of no kind that msajax knows: it begins with {start[:8]!r}; the formats "
            f"are {', '.join(FORMATS)}"
        )
    names = columns.listed([name for name in tables.header(path, encoding) if name])
    return f"is a text file, and as a csv it has the columns: {names}; {wanted}"
