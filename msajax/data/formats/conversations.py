"""The pickles of conversations: IEMOCAP and MELD by dialogue, as DialogueRNN's, COSMIC's and MM-DFN's loaders read them.

A tuple of dicts by dialogue, whose values are lists over its utterances, and of lists of
dialogues (the splits). Which file it is, is told by what the entries hold, never by its
name: ids of the utterances, speakers, labels, feature vectors, sentences.

Formats: declare-lab/conv-emotion @6128ca2, hujingwen6666/MMGCN @85732d9 and
zerohd4869/MM-DFN @da97036, each `dataloader.py`.
"""

import os
import pathlib
from collections.abc import Collection, Iterable
from typing import Any

import numpy as np

from msajax.data.errors import DataError
from msajax.data.formats import budget, columns, conversation_layouts
from msajax.data.formats.decode import Decoder
from msajax.data.spec import DATASETS, RELATIONS, Corpus, Split

_MELD_DEV = 114  # dialogues, the last ones of the 1152 (or 1153) of train and dev
_MELD_TRAIN_AND_DEV = (1152, 1153)
_SPEAKERS = ("M", "F")
_AT_MOST = 64  # speakers of a one-hot vector
_BYTES = 4  # of a feature's number in memory


def beside(path: str | os.PathLike) -> pathlib.Path | None:
    """COMET's file beside that of RoBERTa's layers: x_comet.pkl of x_roberta.pkl, if it is there."""
    path = pathlib.Path(path)
    if "roberta" not in path.name:
        return None
    found = path.with_name(path.name.replace("roberta", "comet"))
    return found if found.is_file() else None


def convert(
    data: Any,
    *,
    dataset: str,
    decoder: Decoder,
    labels: bool = True,
    sense: tuple[str, Any] | None = None,
) -> Corpus:
    """The utterances of a loaded pickle, before cleaning.

    Args:
      data: what `pickles.load` returned.
      dataset: 'iemocap' or 'meld'.
      decoder: of its text.
      labels: False leaves the labels out.
      sense: name and content of COMET's file beside it.

    Returns:
      A corpus for `clean.clean`, with dialogue, turn and speaker. Of RoBERTa's files the
      text is the vectors of the four layers, one after the other. Where the file has no
      validation split, it is taken from the training dialogues, never from test: MELD's
      own, else every tenth in the order of the ids.

    Raises:
      DataError: none of the known files, or of another dataset.
    """
    layout = conversation_layouts.find(data)
    parts = list(zip(layout.entries, data, strict=True))
    entries = {name: part for name, part in parts if name and name != "text"}
    texts = [part for name, part in parts if name == "text"]
    _check_dataset(dataset, layout, entries)
    names = {
        name: entries.pop(name)
        for name in ("train", "valid", "test")
        if name in entries
    }
    relations = _relations(*sense) if sense else {}
    groups, note = _divide({n: _sorted(ids, n) for n, ids in names.items()}, dataset)
    splits = {
        name: _split(name, ids, entries, texts, relations, decoder, labels=labels)
        for name, ids in groups.items()
    }
    if sense:
        note = (*note, f"common sense: {sense[0]}, which lies beside it")
    return Corpus(dataset, splits, (f"the layout of {layout.title}", *note))


def _relations(name: str, data: Any) -> dict[str, dict]:
    """The entries of COMET's file that are read: {relation: vectors by dialogue}."""
    parts = data if isinstance(data, list | tuple) else ()
    if not conversation_layouts.is_comet(parts):
        raise DataError(
            f"{name}, which lies beside it, is no file of COMET's vectors: it has "
            f"{len(parts)} entries, expected nine of vectors by dialogue "
            f"({', '.join(conversation_layouts.COMET)}); move it elsewhere to read no common sense"
        )
    named = dict(zip(conversation_layouts.COMET, parts, strict=True))
    return {f"COMET's {relation}": named[relation] for relation in RELATIONS}


def _check_dataset(
    dataset: str, layout: conversation_layouts.Layout, entries: dict[str, Any]
) -> None:
    """Refuses the other dataset's file: the labels of both are small whole numbers."""
    found = (
        "iemocap" if conversation_layouts.kind_of(entries["speaker"]) == "s" else "meld"
    )
    if DATASETS[dataset].classes != DATASETS[found].classes:
        raise DataError(
            f"has the layout of {layout.title}, whose labels are those of {found}, not "
            f"of {dataset}; set config.data.dataset={found} (--dataset {found})"
        )


def _sorted(ids: Iterable[Any], name: str) -> list[Any]:
    """The dialogues of a split: the order of a set is not the same each time."""
    found = list(ids)
    for key in found:
        if not isinstance(key, str | int | np.integer):
            kind = type(key).__name__
            raise DataError(f'the split "{name}" names a dialogue by a {kind}')
    if len({*found}) < len(found):
        raise DataError(f'the split "{name}" names a dialogue twice')
    return sorted(found, key=lambda key: (isinstance(key, str), key))


def _divide(
    groups: dict[str, list[Any]], dataset: str
) -> tuple[dict[str, list[Any]], tuple[str, ...]]:
    """The dialogues with a validation split, and a note where the file has none."""
    shared = [
        x
        for a, b in (("train", "test"), ("valid", "test"), ("train", "valid"))
        for x in {*groups.get(a, ())} & {*groups.get(b, ())}
    ]
    if shared:
        raise DataError(f'the dialogue "{shared[0]}" is in two splits')
    if groups.get("valid"):
        return groups, ()
    train, test = groups["train"], groups["test"]
    numbered = all(isinstance(x, int | np.integer) for x in train)
    if dataset == "meld" and numbered and len(train) in _MELD_TRAIN_AND_DEV:
        valid, rule = train[-_MELD_DEV:], f"MELD's own, the last {_MELD_DEV} dialogues"
    else:
        valid, rule = (
            train[::10],
            "every tenth training dialogue in the order of the ids",
        )
    left = [x for x in train if x not in {*valid}]
    note = f"validation: the file has none; {rule} ({len(valid)} of {len(train)})"
    return {"train": left, "valid": valid, "test": test}, (note,)


def _split(
    name: str,
    ids: Collection[Any],
    entries: dict[str, Any],
    texts: list[dict],
    relations: dict[str, dict],
    decoder: Decoder,
    *,
    labels: bool,
) -> Split:
    found: dict[str, list[Any]] = {
        key: [] for key in ("id", "words", "speaker", "label")
    }
    features: dict[str, list[np.ndarray]] = {"text": []}
    features |= {key: [] for key in ("audio", "vision") if key in entries}
    vectors: dict[str, list[np.ndarray]] = {relation: [] for relation in relations}
    dialogue, turn = [], []
    for number, key in enumerate(ids):
        rows = _of(entries["words"], key, "sentences", name)
        count = len(rows)
        dialogue += [number] * count
        turn += range(count)
        found["words"] += rows
        known = [f"dia{key}_utt{i}" for i in range(count)]
        named = (
            _of(entries["id"], key, "ids", name, count) if "id" in entries else known
        )
        found["id"] += named if all(isinstance(x, str) for x in named) else known
        speakers = _of(entries["speaker"], key, "speakers", name, count)
        found["speaker"] += [_speaker(x, key, i) for i, x in enumerate(speakers)]
        if labels:
            found["label"] += _of(entries["label"], key, "labels", name, count)
        parts = [_vectors(part, key, "text", name, count) for part in texts]
        features["text"].append(np.concatenate(parts, axis=1))
        for relation, entry in relations.items():
            vectors[relation].append(_vectors(entry, key, relation, name, count))
        for m in features.keys() - {"text"}:
            features[m].append(_vectors(entries[m], key, m, name, count))
    arrays = {m: _joined(parts, m) for m, parts in features.items()}
    if vectors:
        arrays["commonsense"] = _side_by_side(vectors)
    numbers = dict(dialogue=dialogue, turn=turn, speaker=found["speaker"])
    arrays |= {k: np.array(v, np.int32) for k, v in numbers.items()}
    if labels:
        arrays["label"] = columns.labels(found["label"], name="labels")
    raw = columns.strings(found["words"], name="sentences", decoder=decoder)
    return Split(columns.strings(found["id"], name="ids", decoder=decoder), raw, arrays)


def _side_by_side(vectors: dict[str, list[np.ndarray]]) -> np.ndarray:
    """The vectors of all relations, [N, 1, 5 D]."""
    found = {name: _joined(parts, name) for name, parts in vectors.items()}
    widths = {name: x.shape[2] for name, x in found.items()}
    if len({*widths.values()}) > 1:
        shown = ", ".join(f"{name} {width}" for name, width in widths.items())
        raise DataError(f"the widths of the relations differ: {shown}; expected one")
    return np.concatenate([*found.values()], axis=2)


def _of(entry: dict, key: Any, what: str, split: str, count: int = -1) -> list[Any]:
    """The list of a dialogue, of as many utterances as the others."""
    if key not in entry:
        raise DataError(f'the dialogue "{key}" of the split "{split}" has no {what}')
    rows = entry[key]
    if count >= 0 and len(rows) != count:
        raise DataError(
            f'the dialogue "{key}" of the split "{split}" has {count} sentences, but '
            f"{len(rows)} {what}; a turn is missing"
        )
    return list(rows)


def _vectors(entry: dict, key: Any, name: str, split: str, count: int) -> np.ndarray:
    rows = _of(entry, key, f"vectors of {name}", split, count)
    widths = {np.shape(row) for row in rows}
    if len(widths) > 1 or any(len(shape) != 1 for shape in widths):
        raise DataError(
            f'{name} of the dialogue "{key}" (split "{split}") has vectors of the shapes '
            f"{sorted(map(list, widths))}, expected one width"
        )
    width = max((shape[0] for shape in widths), default=0)
    budget.spend(_BYTES * len(rows) * width, f"{name} of {len(rows)} turns")
    try:
        return np.asarray(rows, np.float32).reshape(len(rows), width)
    except (TypeError, ValueError) as error:
        raise DataError(f'{name} of the dialogue "{key}" has no numbers') from error


def _joined(parts: list[np.ndarray], name: str) -> np.ndarray:
    widths = sorted({part.shape[1] for part in parts if len(part)})
    if len(widths) > 1:
        raise DataError(f"{name} has other widths in other dialogues: {widths}")
    if not widths:
        return np.zeros((0, 1, 1), np.float32)
    return np.concatenate([part for part in parts if len(part)])[:, None]


def _speaker(value: Any, key: Any, turn: int) -> int:
    """'M' is 0, 'F' is 1; a one-hot vector is the place of its one."""
    where = f'the speaker of turn {turn} of the dialogue "{key}"'
    if isinstance(value, str):
        if value not in _SPEAKERS:
            raise DataError(f'{where} is "{value[:40]}", expected M or F')
        return _SPEAKERS.index(value)
    vector = np.asarray(value)
    if vector.ndim != 1 or not 0 < len(vector) <= _AT_MOST:
        raise DataError(
            f"{where} is of the shape {list(vector.shape)}, expected one-hot"
        )
    ones = np.flatnonzero(vector)
    if len(ones) != 1:
        raise DataError(f"{where} has {len(ones)} ones in its vector, expected one")
    if vector[ones[0]] != 1:
        raise DataError(
            f"{where} has a {vector[ones[0]]} in its vector, expected a one"
        )
    return int(ones[0])
