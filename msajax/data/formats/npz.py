"""The .npz of this project: any data set, any of the three modalities.

Arrays over N rows: `id`, `split` ('train', 'valid' or 'test'), `label`,
`raw_text`, and `text`, `audio`, `vision`, each [N, D] or [N, L, D] and each
optional. Sequences are padded with zeros at the end; `audio_length` [N] (and so
on) says how long they are where the zeros do not: 0 where a row has no audio. `text_bert` [N, 3, L] holds word
pieces, mask and segments. `label_text`, `label_audio`,
`label_vision` are the labels of single modalities. `labelled` [N] is 0 where a row of
the training split has no labels, for systems that learn from such rows too; rows of
the split 'unlabelled' have none either. `dialogue`, `turn`
and `speaker` (names or numbers) order the rows of conversations; without `dialogue` the
others are not read. `commonsense` [N, 5 D] holds COMET's vectors of each utterance of a
conversation, of the relations xEffect, xReact, xIntent, oEffect and oReact side by side.
`media_settings` is one text, which tools/extract_features.py writes: how audio and vision
were extracted from clips. Without
`split` all rows are in the split 'all'; to predict, `label` is not needed. Other keys
are not read.

    np.savez("corpus.npz", id=ids, split=splits, label=labels, audio=audio)
"""

import io
import math
import os
import zipfile
from collections.abc import Collection
from typing import IO, Any

import numpy as np

from msajax.data import dialogues
from msajax.data.errors import DataError, decoding
from msajax.data.formats import budget, columns
from msajax.data.formats.decode import Decoder
from msajax.data.spec import MODALITIES, RELATIONS, Corpus, Split

# How the features were extracted from clips: the JSON text of `msajax.media.settings`.
MEDIA = "media_settings"
_LABELS = ("label", *(f"label_{name}" for name in MODALITIES))
_CONVERSATION = ("dialogue", "turn", "speaker")
_LENGTHS = tuple(f"{name}_length" for name in MODALITIES)
# By the version of a .npy file: bytes of its header's length, numpy's reader of the
# header. Version 3 differs in the names of a record's fields, which are not used.
_HEADERS = {
    (1, 0): (2, np.lib.format.read_array_header_1_0),
    (2, 0): (4, np.lib.format.read_array_header_2_0),
    (3, 0): (4, np.lib.format.read_array_header_2_0),
}
_HEADER = 10_000  # bytes; numpy refuses longer ones too, once it has read them
_KEYS = (
    *("id", "split", "raw_text", *MODALITIES, "text_bert"),
    *(*_LENGTHS, *_LABELS, "labelled"),
    *(*_CONVERSATION, "commonsense", MEDIA),
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
    if "dialogue" in entry:  # others' files have a speaker or a turn alone
        arrays |= _conversation(entry, decoder)
    if "commonsense" in entry:
        arrays["commonsense"] = _common_sense(entry["commonsense"])
    if labels and "labelled" in entry:
        arrays["labelled"] = columns.numbers(entry["labelled"], name="labelled") > 0
    names = _split_names(entry, len(ids), decoder)
    notes = _without(arrays)
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
    return Corpus(dataset, splits, notes, media=_media(entry))


def _without(arrays: dict[str, np.ndarray]) -> tuple[str, ...]:
    """Zeros in the rows of a modality whose length is 0: they lack it, whatever stands there."""
    notes = []
    for key in (k for k in MODALITIES if {k, f"{k}_length"} <= arrays.keys()):
        if len(arrays[key]) == len(arrays[f"{key}_length"]):
            rows = np.flatnonzero(arrays[f"{key}_length"] == 0)
            count = np.count_nonzero(np.any(arrays[key][rows], axis=(1, 2)))
            arrays[key][rows] = 0
            if count:
                notes.append(
                    f"{key}_length is 0 in {count} rows, whose {key} is left out"
                )
    return tuple(notes)


def _conversation(entry: dict[str, Any], decoder: Decoder) -> dict[str, np.ndarray]:
    """dialogue, turn and speaker as int32; names are numbered: speakers within their dialogue."""
    for key in _CONVERSATION:
        columns.get(entry, key)
    found = {}
    for key in _CONVERSATION:
        values = np.asarray(entry[key])
        if values.dtype.kind in "iuf" or key == "turn":
            values = columns.numbers(values, name=key)
            if not columns.are_whole(values).all():
                raise DataError(f"{key} must be whole numbers from 0 on")
        else:
            values = columns.strings(values, name=key, decoder=decoder)
            if key == "dialogue":
                values = np.unique(values, return_inverse=True)[1]
        found[key] = values
    if found["speaker"].dtype.kind == "U":
        ordered = found["dialogue"], found["turn"], found["speaker"]
        found["speaker"] = dialogues.numbered_speakers(*ordered)
    return {key: values.astype(np.int32) for key, values in found.items()}


def _common_sense(values: np.ndarray) -> np.ndarray:
    """The vectors of all relations, [N, 1, 5 D]."""
    found = columns.features(values, name="commonsense")
    if found.shape[1] != 1 or found.shape[2] % len(RELATIONS):
        raise DataError(
            f"commonsense is an array {list(values.shape)}, expected [N, 5 D]: vectors of "
            f"one width of each of {', '.join(RELATIONS)}, side by side"
        )
    return found


def _media(entry: dict[str, Any]) -> str:
    if MEDIA not in entry:
        return ""
    value = entry[MEDIA]
    if value.shape or value.dtype.kind != "U":
        raise DataError(
            f"{MEDIA} is an array {list(value.shape)} of {value.dtype}, expected one text, "
            "which tools/extract_features.py writes; leave it out of a file of your own"
        )
    return str(value)


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
    if member.flag_bits & 1:
        raise DataError(
            f"{key} of the npz is encrypted; save the file without a password"
        )
    # What an array takes is known from its header, before any of it is unpacked.
    what = f"{key} of the npz"
    with decoding(what), file.open(member) as content:
        shape, dtype = _claim(what, content)
    what = f"{what}, an array {str(list(shape))[:80]} of {str(dtype)[:80]}"
    budget.spend(math.prod(shape) * dtype.itemsize, what)
    with decoding(what), file.open(member) as content:
        return np.lib.format.read_array(content, allow_pickle=False)


def _claim(what: str, content: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    """The shape and the type that a .npy file says its array has.

    Raises:
      DataError: a damaged header, or an array that numpy could only unpickle.
    """
    try:
        version = np.lib.format.read_magic(content)
    except ValueError:
        raise DataError(f"{what} is no array") from None
    if version not in _HEADERS:
        raise DataError(
            f"{what} is an array file of version {version[0]}.{version[1]}, expected 1.0, "
            "2.0 or 3.0; save the file with np.savez"
        )
    width, parse = _HEADERS[version]
    length = content.read(width)
    # numpy would read a header of any size whole, and then look at its size.
    if (size := int.from_bytes(length, "little")) > _HEADER:
        raise DataError(
            f"{what} has a header of {size:,} bytes, expected at most {_HEADER:,}: it is "
            "damaged, or made to fill the memory; copy or download it again"
        )
    header = io.BytesIO(length + content.read(size))
    try:
        shape, _, dtype = parse(header)
    except Exception as error:  # of numpy, or of Python's parser, even a MemoryError
        raise DataError(
            f"{what} is truncated or damaged: its header says no shape and type of an "
            "array; copy or download it again"
        ) from error
    if dtype.hasobject:
        raise DataError(
            f"{what} is an array of Python objects, which numpy saves as a pickle that "
            "would have to be run; save numbers as an array of numbers, and texts as "
            "np.array(texts, str)"
        )
    if min(shape, default=0) < 0:
        raise DataError(f"{what} is damaged: its header says a shape {str(shape)[:80]}")
    return shape, dtype
