"""The layouts of pickles of conversations, told apart by what their entries hold.

Formats: as `conversations`.
"""

import re
from typing import Any, NamedTuple

import numpy as np

from msajax.data.errors import DataError


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
# COMET's file, by the names of its relations.
COMET = (
    *("xIntent", "xAttr", "xNeed", "xWant", "xEffect", "xReact"),
    *("oWant", "oEffect", "oReact"),
)
_IS_COMET = "v" * len(COMET)
# What the entries of a layout are called in messages.
_TOLD = {
    "s": "texts",
    "n": "numbers",
    "v": "vectors",
    "i": "ids of dialogues",
    "?": "something else",
}


def find(data: Any) -> Layout:
    """The layout of a loaded pickle.

    Raises:
      DataError: none of the known ones; says the nearest.
    """
    kinds = "".join(map(kind_of, data))
    for layout in LAYOUTS:
        if re.fullmatch(layout.kinds, kinds):
            return layout
    if is_comet(data):
        raise DataError(
            "holds COMET's vectors of common sense (nine entries of vectors), which are read "
            "with a file of features: put both in one folder, named alike "
            "(iemocap_features_comet.pkl, iemocap_features_roberta.pkl), and give the latter"
        )
    known = ", ".join(x.title for x in LAYOUTS)
    raise DataError(
        f"is a pickle of conversations in no known layout: {_difference(kinds)}; known are "
        f"{known}; or save its utterances as an .npz with dialogue, turn and speaker "
        "(msajax/data/README.md)"
    )


def is_comet(data: Any) -> bool:
    """Whether a loaded pickle is COMET's: nine entries of vectors."""
    parts = data if isinstance(data, list | tuple) else ()
    return "".join(map(kind_of, parts)) == _IS_COMET


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


def kind_of(part: Any) -> str:
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
