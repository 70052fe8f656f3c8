"""The .npz of this project: any data set, any of the three modalities.

Arrays over N rows: `id`, `split` ('train', 'valid' or 'test'), `label`,
`raw_text`, and `text`, `audio`, `vision`, each [N, D] or [N, L, D] and each
optional. Sequences are padded with zeros at the end; `audio_length` [N] (and so
on) says how long they are where the zeros do not, `text_bert` [N, 3, L] holds word
pieces, mask and segments. `label_text`, `label_audio`,
`label_vision` are the labels of single modalities. `labelled` [N] is 0 where a row of
the training split has no labels, for systems that learn from such rows too; rows of
the split 'unlabelled' have none either. Without
`split` all rows are in the split 'all'; to predict, `label` is not needed. Other keys
are not read.

    np.savez("corpus.npz", id=ids, split=splits, label=labels, audio=audio)
"""

import math
import os
import zipfile
from collections.abc import Collection
from typing import Any

import numpy as np

from msajax.data import budget, columns
from msajax.data.decode import Decoder
from msajax.data.errors import DataError, decoding
from msajax.data.spec import MODALITIES, Corpus, Split

_LABELS = ("label", *(f"label_{name}" for name in MODALITIES))
_LENGTHS = tuple(f"{name}_length" for name in MODALITIES)
# By the version of an array's file; version 3 is for records.
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_KEYS = (
    *("id", "split", "raw_text", *MODALITIES, "text_bert"),
    *(*_LENGTHS, *_LABELS, "labelled"),
)


def read(
    path: str | os.PathLike, *, dataset: str, decoder: Decoder, labels: bool = True
) -> Corpus:
    """The rows of a .npz, before cleaning.

    Args:
      path: .npz file, compressed or not.
      dataset: name in `DATASETS`.
      decoder: of its text.
      labels: False leaves the labels out.

    Returns:
      A corpus for `clean.clean`.

    Raises:
      DataError: a damaged file, a missing key or rows that do not match.
    """
    entry = load(path, _KEYS, needed=("id", "label") if labels else ("id",))
    ids = columns.strings(entry["id"], name="id", decoder=decoder)
    raw_text = entry.get("raw_text", [""] * len(ids))
    raw_text = columns.strings(raw_text, name="raw_text", decoder=decoder)
    arrays = {k: columns.features(entry[k], name=k) for k in MODALITIES if k in entry}
    for key in (k for k in _LENGTHS if k in entry):
        arrays[key] = columns.numbers(entry[key], name=key)
    for key in (k for k in _LABELS if labels and k in entry):
        arrays[key] = columns.labels(entry[key], name=key, decoder=decoder)
    if "text_bert" in entry:
        arrays |= columns.word_pieces(entry["text_bert"])
    if labels and "labelled" in entry:
        arrays["labelled"] = columns.numbers(entry["labelled"], name="labelled") > 0
    names = _split_names(entry, len(ids), decoder)
    for key, array in {**arrays, "raw_text": raw_text, "split": names}.items():
        if len(array) != len(ids):
            raise DataError(f"{key} has {len(array)} rows, but id has {len(ids)}")
    splits = {}
    for name in dict.fromkeys(names.tolist()):
        rows = names == name
        chosen = {key: array[rows] for key, array in arrays.items()}
        labelled = chosen.get("labelled", np.ones(rows.sum(), bool))
        if name not in ("train", columns.UNLABELLED) and not labelled.all():
            raise DataError(
                f"{np.count_nonzero(~labelled)} rows of the split {name} are not labelled; "
                "only those of train may lack labels"
            )
        splits[name] = Split(ids[rows], raw_text[rows], chosen)
    return Corpus(dataset, splits)


def _split_names(entry: dict[str, Any], rows: int, decoder: Decoder) -> np.ndarray:
    if "split" not in entry:
        return np.full(rows, "all")
    names = columns.strings(entry["split"], name="split", decoder=decoder).tolist()
    known = {name: columns.split_name(name) for name in set(names)}
    return np.array([known[name] for name in names], str)


def load(
    path: str | os.PathLike,
    keys: Collection[str] | None = None,
    *,
    needed: Collection[str] = (),
) -> dict[str, np.ndarray]:
    """The arrays of a .npz, or those of some names that it has.

    Raises:
      DataError: a damaged file, one without an array that is needed, or one out of
        proportion to its size (see `budget`).
    """
    with decoding("npz"), zipfile.ZipFile(path) as file:
        found = {m.filename.removesuffix(".npy"): m for m in file.infolist()}
        chosen = found if keys is None else [key for key in keys if key in found]
        arrays = {key: _array(key, file, found[key]) for key in chosen}
    for key in needed:
        columns.get(found, key)
    return arrays


def _array(key: str, file: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataError(
            f"{key} of the npz is compressed by method {member.compress_type}, as numpy "
            "writes none; save the file with np.savez or np.savez_compressed"
        )
    # What an array takes is known from its header, before any of it is unpacked.
    with file.open(member) as content:
        try:
            version = np.lib.format.read_magic(content)
        except ValueError:
            raise DataError(f"{key} of the npz is no array") from None
        shape, _, dtype = _HEADERS[version](content)
    what = f"{key} of the npz, an array {list(shape)} of {dtype}"
    budget.spend(math.prod(shape) * dtype.itemsize, what)
    with file.open(member) as content:
        return np.lib.format.read_array(content, allow_pickle=False)
