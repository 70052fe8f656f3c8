"""Which video an utterance is from, and which utterances stand before and behind it there."""

import dataclasses
import re
from collections.abc import Sequence

import numpy as np

from msajax.data.spec import Split

# The ids of the public files: "video$_$clip" (MMSA), "video[clip]" (MulT, MAG) and
# "dialogue_utt3" (MELD). A mere number, "train_12", is not read: rows are numbered like
# this in files that know no videos.
_OF_VIDEO = re.compile(r"(.+?)(?:\$_\$(.*)|\[([^\[\]]*)\]|_utt(\d+))", re.DOTALL)
_DIGITS = re.compile(r"([0-9]+)")


def video(row_id: str) -> str:
    """The video that an id names, or else the id: 'v' of 'v$_$3', 'v[3]' and 'v_utt3'."""
    found = _OF_VIDEO.fullmatch(row_id)
    return found[1] if found else row_id


def names(split: Split) -> list[str]:
    """The dialogue or video of each row, by which rows belong together; else its id."""
    if "dialogue" in split.arrays:
        return [f"dialogue {n}" for n in split.arrays["dialogue"].tolist()]
    return [video(row_id) for row_id in split.ids.tolist()]


def apart(splits: Sequence[Split]) -> list[Split]:
    """Splits whose rows are put together: no two of them share the number of a dialogue.

    Readers number the dialogues of each split from 0.
    """
    made, taken = [], 0
    for split in splits:
        if (own := split.arrays.get("dialogue")) is not None and len(own):
            own = own - own.min() + taken
            taken = own.max() + 1
            split = dataclasses.replace(
                split, arrays={**split.arrays, "dialogue": own.astype(np.int32)}
            )
        made.append(split)
    return made


def neighbours(split: Split, before: int, behind: int) -> tuple[np.ndarray, int, int]:
    """The utterances around each one, in the order of their video or dialogue.

    The order is that of the turns where the file has dialogues, else of the clips that
    the ids name ('v$_$9' is before 'v$_$10'). Clips that the file lacks are passed over.

    Args:
      split: rows in any order; no neighbour is from elsewhere.
      before, behind: how many of them.

    Returns:
      Rows of the neighbours [N, before + behind] int32, in the order of time, -1 where
      there is none; the number of videos or dialogues; the number of rows whose id
      names none, which have no neighbour.
    """
    groups: dict[object, list[tuple[object, int]]] = {}
    unknown = 0
    for row, (group, place) in enumerate(_places(split)):
        if group is None:
            unknown += 1
        else:
            groups.setdefault(group, []).append((place, row))
    found = np.full((len(split), before + behind), -1, np.int32)
    away = [*range(-before, 0), *range(1, behind + 1)]
    for members in groups.values():
        rows = [row for _, row in sorted(members)]  # pyright: ignore
        for i, row in enumerate(rows):
            for column, distance in enumerate(away):
                if 0 <= i + distance < len(rows):
                    found[row, column] = rows[i + distance]
    return found, len(groups), unknown


def _places(split: Split) -> list[tuple[object, object]]:
    """(video or dialogue, what sorts its utterances) of each row; (None, None) where unknown."""
    if {"dialogue", "turn"} <= split.arrays.keys():
        turns = (split.arrays[key].tolist() for key in ("dialogue", "turn"))
        return list(zip(*turns, strict=True))
    return [_place(row_id) for row_id in split.ids.tolist()]


def _place(row_id: str) -> tuple[object, object]:
    if not (found := _OF_VIDEO.fullmatch(row_id)):
        return None, None
    clip = next(x for x in found.groups()[1:] if x is not None)
    # Numbers by their value: of two without leading zeros the longer is the larger one.
    # Texts and numbers alternate, so any two lists can be compared.
    parts = [x.lstrip("0") if i % 2 else x for i, x in enumerate(_DIGITS.split(clip))]
    return found[1], [(len(x), x) if i % 2 else x for i, x in enumerate(parts)]
