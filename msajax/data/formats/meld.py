"""MELD's csv files: utterances of dialogues with speaker and emotion; text only.

A folder with `train_sent_emo.csv`, `dev_sent_emo.csv`, `test_sent_emo.csv`, or
one such file. Dialogues are numbered within their split, as in the files.

Format: Poria et al., "MELD: A Multimodal Multi-Party Dataset for Emotion
Recognition in Conversations", ACL 2019.
"""

import os
import pathlib

import numpy as np

from msajax.data import dialogues
from msajax.data.errors import DataError, option
from msajax.data.formats import columns, tables
from msajax.data.formats.decode import Decoder
from msajax.data.spec import DATASETS, Corpus, Split, suggest

ROWS = (9989, 1109, 2610)  # train, valid, test, as distributed
COLUMNS = ("Utterance", "Speaker", "Dialogue_ID", "Utterance_ID")
_FILES = {"train": "train_sent_emo", "valid": "dev_sent_emo", "test": "test_sent_emo"}


def files(path: str | os.PathLike) -> dict[str, pathlib.Path]:
    """The csv files of a folder by split; a file that names no split is 'all'."""
    path = pathlib.Path(path)
    if not path.is_dir():
        names = {stem: split for split, stem in _FILES.items()}
        return {names.get(path.stem, "all"): path}
    found = {split: path / f"{stem}.csv" for split, stem in _FILES.items()}
    return {split: file for split, file in found.items() if file.is_file()}


def read(
    path: str | os.PathLike, *, dataset: str, decoder: Decoder, labels: bool = True
) -> Corpus:
    """The utterances of MELD, before cleaning.

    Args:
      path: csv file, or folder of the three.
      dataset: name in `DATASETS`.
      decoder: of its text.
      labels: False leaves the emotions out.

    Returns:
      A corpus of `raw_text`, `dialogue`, `turn` (position among the utterances
      that the file has of the dialogue), `speaker` (numbered within the dialogue, in
      the order of their first turns, and named) and `label`, for `clean.clean`.

    Raises:
      DataError: a missing column, or an emotion that is no class of the dataset.
    """
    classes = DATASETS[dataset].classes
    if labels and not classes:
        raise DataError(
            f'the dataset "{dataset}" has no classes, but MELD\'s csv holds emotions; '
            f"set {option('dataset', 'meld')}"
        )
    needed = (*COLUMNS, "Emotion") if labels else COLUMNS
    splits = {}
    for name, file in files(path).items():
        rows = tables.rows(file, needed, decoder=decoder)
        splits[name] = _split(name, rows)
        if labels:
            emotions = [_emotion(row, classes) for row in rows]
            splits[name].arrays["label"] = np.array(emotions, np.int32)
    return Corpus(dataset, splits)


def _split(name: str, rows: list[tables.Row]) -> Split:
    dialogue = np.array([_whole(row, "Dialogue_ID") for row in rows], np.int32)
    number = np.array([_whole(row, "Utterance_ID") for row in rows], np.int32)
    order = np.lexsort((number, dialogue))
    first = np.searchsorted(dialogue[order], dialogue[order])  # of the same dialogue
    turn = np.zeros_like(number)
    turn[order] = np.arange(len(order)) - first
    names = [row["Speaker"] for row in rows]
    speaker = dialogues.numbered_speakers(dialogue, number, np.array(names, object))
    ids = [f"{name}_dia{d}_utt{u}" for d, u in zip(dialogue, number, strict=True)]
    texts = [row["Utterance"] for row in rows]
    arrays = {"dialogue": dialogue, "turn": turn, "speaker": speaker}
    arrays[dialogues.NAMES] = dialogues.written_names(names)
    return Split(np.array(ids, str), columns.strings(texts, name="Utterance"), arrays)


def _whole(row: tables.Row, column: str) -> int:
    value = tables.number(row, column)
    if not columns.are_whole(np.array(value)):
        raise DataError(
            f'{row.place}: {column} is "{row[column][:40]}", expected a whole number'
        )
    return int(value)


def _emotion(row: tables.Row, classes: tuple[str, ...]) -> int:
    name = row["Emotion"]
    if name.lower() not in classes:
        known = suggest(name, classes)
        raise DataError(f'{row.place}: unknown emotion "{name[:40]}"{known}')
    return classes.index(name.lower())
