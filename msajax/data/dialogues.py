"""The dialogue view: a row is a conversation, its steps are the utterances in their order.

A store holds utterances with `dialogue`, `turn` and `speaker`. Systems that read whole
conversations (`Model.view`) get them here as rows [N, U, ...], padded at the end, with
the places of the utterances, so that predictions go back to the utterances' rows.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from msajax.data.errors import DataError
from msajax.data.spec import MODALITIES, OF_TURNS, Corpus, Spec, Split

# Where the utterances of a dialogue are in their split: [N, U] int32, -1 on padding.
# No field of a batch.
PLACES = "places"
# Names of the rows' speakers [N, 40] int32, by code points, 0 behind them. No field of a
# batch; it is there where the file has names.
NAMES = "speaker_name"
_LETTERS = 40
# More are no speakers of one dialogue: a system has a state or a kind of edge for each.
_MOST_SPEAKERS = 32
_NEEDED = ("dialogue", "turn", "speaker")


def grouped(corpus: Corpus) -> Corpus:
    """The whole dialogues of a corpus of utterances, without their features: zeros, for the shapes.

    Raises:
      DataError: as `group`.
    """
    splits = {
        name: group(split, name=name, features=False)
        for name, split in corpus.splits.items()
    }
    return dataclasses.replace(corpus, splits=splits)


def speakers(corpus: Corpus) -> int:
    """The number of speakers P of grouped dialogues, of all splits."""
    return 1 + max(int(s.arrays["speaker"].max()) for s in corpus.splits.values())


def of_spec(split: Split, spec: Spec) -> tuple[Split, str]:
    """The dialogues of a split for a system that was made for a spec.

    Args:
      split: utterances.
      spec: of the dialogue view.

    Returns:
      Rows of at most `spec.turns` utterances, longer dialogues in pieces; and a note on
      those, or ''.

    Raises:
      DataError: as `group`; or more speakers than the spec's.
    """
    made = group(split, most=spec.turns)
    many = int(made.arrays["speaker"].max(initial=0)) + 1
    if many > spec.speakers:
        raise DataError(
            f"a dialogue has a speaker with the number {many - 1}, but the system was made "
            f"for {spec.speakers} speakers, 0 to {spec.speakers - 1}; number them anew "
            "within their dialogues, or train on data that has as many"
        )
    cut = len(made) - len(np.unique(split.arrays["dialogue"]))
    note = (
        f"dialogues of more than {spec.turns} turns, the longest of the training split, "
        f"are read in pieces: {cut} more"
    )
    return made, note if cut else ""


def numbered_speakers(
    dialogue: np.ndarray, turn: np.ndarray, names: np.ndarray
) -> np.ndarray:
    """Speakers by name, [N] each: their numbers in their dialogue, in the order of first turns, [N] int32."""
    known: dict[int, dict[str, int]] = {}  # of each dialogue
    found = np.zeros(len(names), np.int32)
    for i in np.lexsort((turn, dialogue)).tolist():
        of_dialogue = known.setdefault(int(dialogue[i]), {})
        found[i] = of_dialogue.setdefault(str(names[i]), len(of_dialogue))
    return found


def written_names(names: Sequence[str]) -> np.ndarray:
    """Names of speakers as the array NAMES, longer ones cut."""
    found = np.zeros((len(names), _LETTERS), np.int32)
    for row, name in zip(found, names, strict=True):
        codes = [*map(ord, name[:_LETTERS])]
        row[: len(codes)] = codes
    return found


def speaker_names(split: Split) -> tuple[list[str], bool]:
    """Who speaks in each row: the name that the file has, else 'speaker 0'; and whether it has names.

    Raises:
      DataError: the file does not say who speaks.
    """
    if NAMES in split.arrays:
        rows = split.arrays[NAMES]
        return ["".join(map(chr, row[row > 0].tolist())) for row in rows], True
    if "speaker" not in split.arrays or "dialogue" not in split.arrays:
        raise DataError(
            "config.text.context_speaker puts who speaks in front of each utterance, but "
            "the data does not say it; give MELD's csv files, one of the pickles of "
            "conversations, or an .npz with dialogue, turn and speaker of each row, or set "
            "config.text.context_speaker=False"
        )
    return [f"speaker {n}" for n in split.arrays["speaker"].tolist()], False


def group(
    split: Split, *, most: int = 0, name: str = "", features: bool = True
) -> Split:
    """A split of dialogues.

    Args:
      split: utterances in any order, with dialogue, turn and speaker.
      most: longer dialogues are cut into pieces of so many turns; 0 cuts none.
      name: of the split, for errors.
      features: False leaves zeros in their place: none are read from a store.

    Returns:
      [N, U, D] of each modality: the mean of an utterance's real steps, with a mask
      [N, U]; `commonsense` [N, U, D]; `text_ids` [N, U, W] where the text has no features; `label`, `speaker`
      [N, U], `utterance_mask`, and PLACES. The ids are those of the first utterances.

    Raises:
      DataError: no rows, no dialogues, one has a turn twice, or speakers with too large
        numbers.
    """
    lacking = [key for key in _NEEDED if key not in split.arrays]
    if lacking:
        raise DataError(
            f"the system reads whole dialogues, but the data has no {', '.join(lacking)}; "
            "give MELD's csv files, one of the pickles of conversations, or an .npz with "
            "dialogue, turn and speaker of each row"
        )
    if not len(split):
        raise DataError(f"the split {name} is empty" if name else "there are no rows")
    dialogue, turn, speaker = (split.arrays[key] for key in _NEEDED)
    order = np.lexsort((turn, dialogue))
    _refuse_twice(split, order, name)
    if not 0 <= speaker.min(initial=0) <= speaker.max(initial=0) < _MOST_SPEAKERS:
        raise DataError(
            f"`speaker` is from {speaker.min()} to {speaker.max()}, but must be from 0 to "
            f"{_MOST_SPEAKERS - 1} at most: number the speakers within their dialogue (a "
            "store that was prepared by an older version: prepare it again)"
        )
    starts = np.flatnonzero(np.diff(dialogue[order], prepend=dialogue[order][:1] - 1))
    whole = np.split(order, starts[1:])
    rows = [
        r[i : i + (most or len(r))]
        for r in whole
        for i in range(0, len(r), most or len(r))
    ]
    places = np.full((len(rows), max(map(len, rows), default=1)), -1, np.int32)
    for i, row in enumerate(rows):
        places[i, : len(row)] = row
    real = places >= 0
    arrays = {PLACES: places, "utterance_mask": real, "speaker": _at(speaker, places)}
    for key in OF_TURNS:
        if key in split.arrays and key != "speaker":
            arrays[key] = _at(split.arrays[key], places)
    if "text_ids" in split.arrays and "text" not in split.arrays:
        ids = np.where(split.arrays["text_mask"], split.arrays["text_ids"], 0)
        arrays |= {"text_ids": _at(ids, places), "text_mask": real}
    for key in (k for k in (*MODALITIES, "commonsense") if k in split.arrays):
        if (mask := split.arrays.get(f"{key}_mask")) is not None:
            arrays[f"{key}_mask"] = _at(np.asarray(mask.any(1)), places)
        shape = (*places.shape, split.arrays[key].shape[2])
        arrays[key] = (
            _at(_means(split, key), places)
            if features
            else np.broadcast_to(np.float32(0), shape)
        )
    first = places[:, 0]
    return Split(split.ids[first], split.raw_text[first], arrays)


def _refuse_twice(split: Split, order: np.ndarray, name: str) -> None:
    dialogue, turn = (split.arrays[key][order] for key in ("dialogue", "turn"))
    twice = np.flatnonzero((np.diff(dialogue) == 0) & (np.diff(turn) == 0))
    if len(twice):
        a, b = (split.ids[order[twice[0] + i]][:80] for i in (0, 1))
        raise DataError(
            f'{len(twice)} turns are there twice{f" in {name}" if name else ""}: "{a}" and '
            f'"{b}" are both turn {turn[twice[0]]} of dialogue {dialogue[twice[0]]}; leave '
            "one out, or correct `dialogue` and `turn`"
        )


def _means(split: Split, modality: str) -> np.ndarray:
    """The mean of an utterance's real steps: [N, D]."""
    values = split.arrays[modality]
    if values.shape[1] == 1:  # a vector of the utterance; as it is, to the bit
        return np.asarray(values)[:, 0]
    mask = split.arrays[f"{modality}_mask"]
    total = np.zeros((len(split), values.shape[2]), np.float32)
    for i in range(len(split)):  # it may lie in a store: row by row
        if mask[i].any():
            total[i] = np.asarray(values[i])[mask[i]].mean(0)
    return total


def _at(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Values [rows, ...] of the utterances: [N, U, ...], zero on padding."""
    found = values[places]
    found[places < 0] = 0
    return found
