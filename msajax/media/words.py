"""Features averaged over each word, by word times: what the field calls aligned."""

import os
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from msajax.data.errors import DataError
from msajax.data.formats import tables
from msajax.media import files
from msajax.media.settings import VisionFeatures


class Word(NamedTuple):
    """A word and when it is said, in seconds of the clip."""

    word: str
    start: float
    end: float


def read(path: str | os.PathLike[str]) -> list[Word]:
    """The words of a csv file with the columns word, start and end.

    Raises:
      DataError: there are none, or a word ends before it starts.
    """
    rows = tables.rows(files.check(path), Word._fields)
    found = []
    for row in rows:
        start, end = (tables.number(row, name) for name in ("start", "end"))
        if not 0 <= start <= end < np.inf:
            raise DataError(
                f"{row.place}: a word from {start:g} to {end:g} s; expected seconds of the "
                "clip, the end not before the start"
            )
        found.append(Word(row["word"], start, end))
    if not found:
        raise DataError(f"{path} has no words; align the clip again, or remove its row")
    return found


def find(folder: pathlib.Path, video: str, clip: str) -> pathlib.Path:
    """The word times of a clip: FOLDER/video/clip.csv.

    Raises:
      DataError: there are none.
    """
    path = folder / video / f"{clip}.csv"
    if not path.is_file():
        raise DataError(
            f"there is no file {path}; write the times of the words of the clip there "
            "(columns word,start,end), or extract features without --word-times"
        )
    return path


def step_of(vision: VisionFeatures) -> float:
    """Seconds from one picture to the next.

    Raises:
      ValueError: the settings do not say it.
    """
    if not vision.rate:
        raise ValueError(
            f"features per word need the pictures a second of the vision features "
            f"{vision.kind}; say them, as in {vision.kind}:rate=30"
        )
    return 1 / vision.rate


def average(features: np.ndarray, words: Sequence[Word], *, step: float) -> np.ndarray:
    """The mean over each word.

    Args:
      features: [L, D] float32; the first step is at 0 s.
      words: W words; one after the end of the features takes the last step.
      step: seconds from one step to the next.

    Returns:
      [W, D] float32.

    Raises:
      DataError: there are no words.
    """
    if not words:
        raise DataError("features per word need the times of the words; give them")
    found = []
    for _, start, end in words:
        first = int(np.ceil(start / step - 1e-6))
        last = int(np.ceil(end / step - 1e-6))
        if first >= min(last, len(features)):  # between two steps, or after the last
            first = min(round((start + end) / 2 / step), len(features) - 1)
            last = first + 1
        found.append(features[first:last].mean(axis=0))
    return np.array(found, np.float32)
