"""Which rows a run is trained and measured on: with labels, and without where it asks for them."""

import dataclasses
import pathlib

import numpy as np

from msajax import config as configs
from msajax import settings
from msajax.data import columns, unlabelled
from msajax.data.errors import DataError
from msajax.data.spec import Corpus, Split


def training_corpus(
    config: configs.Config, folder: pathlib.Path
) -> tuple[Corpus, dict[str, str]]:
    """The corpus to train on, with the rows without labels that config.data.unlabelled asks for.

    Returns:
      The corpus, and {file: sha256} of a file of its own that the rows come from.

    Raises:
      ValueError: a file cannot be read, or its rows do not fit.
    """
    wanted = config.data.unlabelled
    if not wanted:
        return settings.read_corpus(config, folder), {}
    if config.data.split:
        raise ValueError(
            "config.data.split and config.data.unlabelled are both set; leave one out: only "
            "rows with labels can be divided"
        )
    corpus = settings.read_corpus(
        config, folder, with_unlabelled=wanted == configs.OWN_ROWS
    )
    settings.need_splits(corpus, ("train", "valid", "test"))
    if wanted == configs.OWN_ROWS:
        return unlabelled.join(corpus, corpus.splits.get(columns.UNLABELLED)), {}
    other = settings.read_corpus(
        config, folder, wanted, labels=False, words=corpus.vocabulary
    )
    try:
        joined = unlabelled.join(corpus, unlabelled.rows_of(wanted, other))
    except DataError as error:
        raise DataError(f"{wanted}: {error}") from error
    notes = (*joined.notes, *(f"{wanted}: {note}" for note in other.notes))
    return dataclasses.replace(joined, notes=notes), {wanted: other.sha256}


def labelled_split(
    setting: settings.Setting, corpus: Corpus, name: str
) -> tuple[str, Split]:
    """The rows with labels of a split ('all' of a file without splits), and its name.

    Raises:
      ValueError: no such split, or no labels.
    """
    name = "all" if "all" in corpus.splits else name
    if corpus.splits.keys() != {columns.UNLABELLED}:
        settings.need_splits(corpus, (name,))
    split = corpus.splits.get(name)
    if split is None or "label" not in split.arrays:
        raise ValueError("the data has no labels; to score it, use --mode predict")
    labelled = split.arrays.get("labelled", np.ones(len(split), bool))
    if labelled.all():
        return name, split
    setting.say(f"{name}: {np.count_nonzero(~labelled)} rows without labels left out")
    return name, split.take(labelled)
