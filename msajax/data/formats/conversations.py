"""The pickles of conversations: IEMOCAP and MELD by dialogue, as DialogueRNN's, COSMIC's and MM-DFN's loaders read them.

A tuple of dicts by dialogue, whose values are lists over its utterances, and of lists of
dialogues (the splits). Which file it is, is told by what the entries hold, never by its
name: ids of the utterances, speakers, labels, feature vectors, sentences.

Formats: declare-lab/conv-emotion @6128ca2, hujingwen6666/MMGCN @85732d9 and
zerohd4869/MM-DFN @da97036, each `dataloader.py`.
"""

import re
from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

import numpy as np

from msajax.data.errors import DataError
from msajax.data.formats import budget, columns
from msajax.data.formats.decode import Decoder
from msajax.data.spec import DATASETS, Corpus, Split

_MELD_DEV = 114  # dialogues, the last ones of the 1152 (or 1153) of train and dev
_MELD_TRAIN_AND_DEV = (1152, 1153)
_SPEAKERS = ("M", "F")
_AT_MOST = 64  # speakers of a one-hot vector
_BYTES = 4  # of a feature's number in memory


class Layout(NamedTuple):
    """The entries of a file in their order; '' is one that is not read."""

    title: str
    # Pattern of the entries' kinds: 's' texts, 'n' numbers, 'v' vectors, one an utterance;
    # 'i' ids of dialogues.
    kinds: str
    entries: tuple[str, ...]


_FEATURES = ("text", "audio", "vision")
LAYOUTS = (
    Layout(
        "IEMOCAP_features.pkl (9 entries)",
        "[sn]snvvvsii",
        ("id", "speaker", "label", *_FEATURES, "words", "train", "test"),
    ),
    Layout(
        "MELD_features_raw.pkl (9 entries)",
        "[sn]vnvvsiin",
        ("id", "speaker", "label", "text", "audio", "words", "train", "test", ""),
    ),
    Layout(
        "MELD_features_raw1.pkl (10 entries)",
        "[sn]vnvvvsii[nsv]",
        ("id", "speaker", "label", *_FEATURES, "words", "train", "test", ""),
    ),
    Layout(
        "iemocap_features_roberta.pkl (10 entries)",
        "snvvvvsiii",
        ("speaker", "label", *["text"] * 4, "words", "train", "test", "valid"),
    ),
    Layout(
        "meld_features_roberta.pkl (11 entries)",
        "vnnvvvvsiii",
        ("speaker", "label", "", *["text"] * 4, "words", "train", "test", "valid"),
    ),
)
_COMET = "v" * 9
_TOLD = {
    "s": "texts",
    "n": "numbers",
    "v": "vectors",
    "i": "ids of dialogues",
    "?": "something else",
}


def convert(
    data: Any, *, dataset: str, decoder: Decoder, labels: bool = True
) -> Corpus:
    """The utterances of a loaded pickle, before cleaning.

    Args:
      data: what `pickles.load` returned.
      dataset: 'iemocap' or 'meld'.
      decoder: of its text.
      labels: False leaves the labels out.

    Returns:
      A corpus for `clean.clean`, with dialogue, turn and speaker. Of RoBERTa's files the
      text is the vectors of the four layers, one after the other. Where the file has no
      validation split, it is taken from the training dialogues, never from test: MELD's
      own, else every tenth in the order of the ids.

    Raises:
      DataError: none of the known files, or of another dataset.
    """
    layout = _layout(data)
    parts = list(zip(layout.entries, data, strict=True))
    entries = {name: part for name, part in parts if name and name != "text"}
    texts = [part for name, part in parts if name == "text"]
    _check_dataset(dataset, layout, entries)
    names = {
        name: entries.pop(name)
        for name in ("train", "valid", "test")
        if name in entries
    }
    groups, note = _divide({n: _sorted(ids, n) for n, ids in names.items()}, dataset)
    splits = {
        name: _split(name, ids, entries, texts, decoder, labels=labels)
        for name, ids in groups.items()
    }
    return Corpus(dataset, splits, (f"the layout of {layout.title}", *note))


def _layout(data: Any) -> Layout:
    kinds = "".join(map(_kind, data))
    for layout in LAYOUTS:
        if re.fullmatch(layout.kinds, kinds):
            return layout
    if kinds == _COMET:
        raise DataError(
            "holds COMET's vectors of common sense (nine entries of vectors), which stand "
            "beside a file of features; give that file (iemocap_features_roberta.pkl, "
            "meld_features_roberta.pkl)"
        )
    known = ", ".join(x.title for x in LAYOUTS)
    raise DataError(
        f"is a pickle of conversations in no known layout: {_difference(kinds)}; known are "
        f"{known}; or save its utterances as an .npz with dialogue, turn and speaker "
        "(msajax/data/README.md)"
    )


def _difference(kinds: str) -> str:
    """What sets the entries of a file apart from the layout that is most like it."""
    shown = ", ".join(f"{i} {_TOLD[kind]}" for i, kind in enumerate(kinds, 1))
    holds = f"it has {len(kinds)} entries: {shown}"
    found = []
    for layout in LAYOUTS:
        wanted = re.findall(r"\[\w+\]|\w", layout.kinds)
        if len(wanted) == len(kinds):
            pairs = enumerate(zip(layout.entries, wanted, kinds, strict=True), 1)
            wrong = [
                f"entry {i} ({name or 'not read'}) holds {_TOLD[kind]} instead of "
                + " or ".join(_TOLD[x] for x in kinds_of.strip("[]"))
                for i, (name, kinds_of, kind) in pairs
                if kind not in kinds_of
            ]
            found.append((len(wrong), f"of {layout.title}, {', '.join(wrong)}"))
    return f"compared with that {min(found)[1]}; {holds}" if found else holds


def _kind(part: Any) -> str:
    """Of the first utterance of an entry: 's', 'n', 'v'; 'i' of a list of ids; '?' else."""
    if not isinstance(part, dict):
        return "i"
    if not all(isinstance(rows, np.ndarray | list | tuple) for rows in part.values()):
        return "?"
    first: Any = next((rows[0] for rows in part.values() if len(rows)), None)
    if isinstance(first, str | bytes):
        return "s"
    if isinstance(first, np.ndarray | list | tuple) and np.ndim(first) == 1:
        return "v"
    return "n" if isinstance(first, int | float | np.number) else "?"


def _check_dataset(dataset: str, layout: Layout, entries: dict[str, Any]) -> None:
    """Refuses the other dataset's file: the labels of both are small whole numbers."""
    found = "iemocap" if _kind(entries["speaker"]) == "s" else "meld"
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
    decoder: Decoder,
    *,
    labels: bool,
) -> Split:
    found: dict[str, list[Any]] = {
        key: [] for key in ("id", "words", "speaker", "label")
    }
    features: dict[str, list[np.ndarray]] = {"text": []}
    features |= {key: [] for key in ("audio", "vision") if key in entries}
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
        for m in features.keys() - {"text"}:
            features[m].append(_vectors(entries[m], key, m, name, count))
    arrays = {m: _joined(parts, m) for m, parts in features.items()}
    numbers = dict(dialogue=dialogue, turn=turn, speaker=found["speaker"])
    arrays |= {k: np.array(v, np.int32) for k, v in numbers.items()}
    if labels:
        arrays["label"] = columns.labels(found["label"], name="labels")
    raw = columns.strings(found["words"], name="sentences", decoder=decoder)
    return Split(columns.strings(found["id"], name="ids", decoder=decoder), raw, arrays)


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
