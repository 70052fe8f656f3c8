"""Labels as texts, and training rows of other data sets beside the recipe's own (config.data.also).

A run is measured on one data set, whose validation split also picks its checkpoints. The
training rows of others join those of its own; they share their universal labels
(`msajax.data.universal`), which a system that names the field `label_ids` learns to write.
"""

import dataclasses
import functools
import itertools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from msajax import encoders, models
from msajax.data import loader, universal, unlabelled
from msajax.data.errors import DataError
from msajax.data.spec import FIELDS, IGNORED, MODALITIES, Corpus, Split, Written
from msajax.encoders import tokenize
from msajax.run import text
from msajax.run.options import DataOptions, Options

# Word pieces of a value or of the separator; no tokenizer takes as many.
_LONGEST = 32
# What rows of a data set of dialogues have beside the others; a system that writes reads none.
_OF_DIALOGUES = ("dialogue", "turn", "speaker")

Pieces = dict[str, tuple[int, ...]]


def written_by(options: Options) -> bool:
    """Whether the system of a recipe writes labels, and has an encoder to do it."""
    writes = "label_ids" in models.get(options.system).own_fields
    return writes and bool(options.text.encoder)


def others(options: Options) -> dict[str, str]:
    """{data set: file} of config.data.also."""
    pairs = (entry.partition("=") for entry in options.data.also)
    return {name: path or name for name, _, path in pairs}


def answers(options: Options, folder: pathlib.Path) -> tuple[Written, Pieces]:
    """How the labels of a recipe are texts, and the pieces of all values.

    Raises:
      ValueError: the encoder's tokenizer cannot write them.
    """
    dataset = options.data.dataset
    fields = universal.fields([dataset, *others(options)])
    pieces, end = _pieces(options, folder, fields)
    place, separator = universal.place(dataset), pieces[universal.SEPARATOR]
    longest = [
        max(len(pieces[value]) for value in values) for values in fields.values()
    ]
    written = Written(
        length=sum(longest) + len(separator) * (len(fields) - 1) + 1,
        separator=separator,
        end=end,
        place=[*fields].index(place),
        answers=tuple(pieces[value] for value in fields[place]),
        values=tuple(universal.value(dataset, value) for value in fields[place]),
        fallback=universal.fallback(dataset),
    )
    return written, pieces


def _pieces(
    options: Options, folder: pathlib.Path, fields: Mapping[str, Sequence[str]]
) -> tuple[Pieces, int]:
    """The word pieces of every value and of the separator, no two alike; and that of a text's end."""
    words = [*dict.fromkeys(itertools.chain([universal.SEPARATOR], *fields.values()))]
    source, texts = text.find(options, folder), np.array(words, str)
    config: Any = text.encoder_of(options, folder)  # of a kind that writes
    made = tokenize.word_pieces(
        Corpus(options.data.dataset, {"train": Split(texts, texts, {})}),
        source,
        network=encoders.tokenizer_facts(source),
        max_length=_LONGEST,
    )
    arrays, end = made.splits["train"].arrays, config.eos_token_id
    rows = zip(arrays["text_ids"].tolist(), arrays["text_mask"], strict=True)
    found = [tuple(i for i in row[: mask.sum()] if i != end) for row, mask in rows]
    for ids in found:
        alike = [word for word, own in zip(words, found, strict=True) if own == ids]
        if len(alike) > 1 or not ids:
            raise ValueError(
                f"the tokenizer in {source} has no word pieces of its own for "
                f"{' and '.join(map(repr, alike[:3]))}, so a label that is written with "
                "them cannot be read back; choose another encoder (config.text.encoder)"
            )
    return dict(zip(words, found, strict=True)), end


def join(
    options: Options,
    folder: pathlib.Path,
    corpus: Corpus,
    read: Callable[[Options, pathlib.Path], Corpus],
) -> tuple[Corpus, dict[str, str]]:
    """The corpus with its labels as texts, and with the training rows of the other data sets.

    Args:
      options: of the run.
      folder: its workdir.
      corpus: with the splits "train" and "valid".
      read: reads the corpus of a recipe.

    Returns:
      The corpus, and {file: sha256} of the others.

    Raises:
      ValueError: a file cannot be read, or has no labels.
    """
    dataset, parts = options.data.dataset, {}
    for name, path in others(options).items():
        parts[name] = read(_options_of(options, name, path), folder)
    trains = {name: _labelled(name, part) for name, part in parts.items()}
    written, pieces = answers(options, folder)
    fields = [*universal.fields([dataset, *parts])]
    seen = {
        name: universal.known(name, split.arrays["label"], split.raw_text)
        for name, split in {dataset: corpus.splits["train"], **trains}.items()
    }
    write = functools.partial(_write, written, fields, pieces)
    lent = {n: [rows for m, rows in seen.items() if m != n] for n in seen}
    made = {name: write(rows, lent[name]) for name, rows in seen.items()}
    train, splits = corpus.splits["train"], dict(corpus.splits)
    for name, split in trains.items():
        train = _joined(train, name, split)
    ids = np.concatenate([found for found, _ in made.values()])
    splits["train"] = _with_ids(train, ids)
    own = universal.known(
        dataset, splits["valid"].arrays["label"], splits["valid"].raw_text
    )
    splits["valid"] = _with_ids(splits["valid"], write(own, lent[dataset])[0])
    notes = [f"{name}: {line}" for name, part in parts.items() for line in part.notes]
    counts = ", ".join(f"{len(rows.texts)} of {name}" for name, rows in seen.items())
    note = f"labels are written as {', '.join(fields)}; training rows: {counts}"
    if taken := sum(count for _, count in made.values()):
        note += f"; {taken} values are those of the most similar text"
    hashes = {path: parts[name].sha256 for name, path in others(options).items()}
    changes: dict[str, Any] = dict(
        splits=splits, notes=(*corpus.notes, *notes, note), written=written
    )
    return dataclasses.replace(corpus, **changes), hashes


def _options_of(options: Options, name: str, path: str) -> Options:
    """A recipe with another data set, read in the same way."""
    kept = {k: getattr(options.data, k) for k in ("modalities", "encoding")}
    data = DataOptions(dataset=name, path=path, **kept)
    return dataclasses.replace(options, data=data)


def _labelled(name: str, corpus: Corpus) -> Split:
    """The training rows of another data set."""
    split = unlabelled.rows_of(f"config.data.also: {name}", corpus)
    if "label" not in split.arrays:
        raise DataError(
            f"config.data.also: the rows of {name} have no labels; give a file that has "
            "them"
        )
    return split


def _write(
    written: Written,
    fields: Sequence[str],
    pieces: Pieces,
    rows: universal.Rows,
    lenders: Sequence[universal.Rows],
) -> tuple[np.ndarray, int]:
    """`label_ids` of rows [N, Lw], and how many of their values are taken from lenders."""
    columns, taken = universal.complete(rows, lenders, fields)
    ids = np.full((len(rows.texts), written.length), IGNORED, np.int32)
    for i, values in enumerate(zip(*columns.values(), strict=True)):
        whole = [*pieces[values[0]]]
        for value in values[1:]:
            whole += [*written.separator, *pieces[value]]
        ids[i, : len(whole)] = whole
        ids[i, len(whole)] = written.end
    return ids, taken


def _with_ids(split: Split, ids: np.ndarray) -> Split:
    return dataclasses.replace(split, arrays={**split.arrays, "label_ids": ids})


def _joined(train: Split, name: str, rows: Split) -> Split:
    """A training split and rows of another data set, whose features are cut or padded to its widths and steps.

    The authors' loader does that to 64 numbers of each. A modality that the rows lack is
    missing in them. What the label is in their own data set counts only as a text.
    """
    kept = {
        key: array
        for key, array in train.arrays.items()
        if key in FIELDS and key not in _OF_DIALOGUES
    }
    arrays = {}
    for key, like in kept.items():
        if key.startswith("label"):
            continue
        array: Any = rows.arrays.get(key)
        if array is None:
            array = np.zeros((len(rows), *like.shape[1:]), FIELDS[key].dtype)
        elif key in MODALITIES and array.shape[2] != (width := like.shape[2]):
            array = np.asarray(array)[..., :width]
            array = np.pad(array, [(0, 0), (0, 0), (0, width - array.shape[2])])
        arrays[key] = loader.resize(array, like.shape[1])
    ids = np.array([f"{name}/{i}" for i in rows.ids], str)
    return unlabelled.joined(
        Split(train.ids, train.raw_text, kept), Split(ids, rows.raw_text, arrays)
    )
