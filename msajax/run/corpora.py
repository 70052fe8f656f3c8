"""The rows that a run is trained and measured on: of its file, of others, with and without labels."""

import dataclasses
import functools
import hashlib
import math
import os
import pathlib
import reprlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from msajax import models, parallel
from msajax.data import clean, demo, demo_dialogues, loader, splits, store, unlabelled
from msajax.data.errors import DataError
from msajax.data.formats import columns
from msajax.data.spec import Corpus, Spec, Split, suggest
from msajax.encoders.frozen import Features
from msajax.run import features, text, universal, voice
from msajax.run.options import DataOptions, Options

# Rows that are hashed at a time: no copy of a whole array is made.
_ROWS = 1024
# What to do about a file with these splits alone.
_SPLITS: dict[tuple[str, ...], str] = {
    (columns.UNLABELLED,): f"; {unlabelled.ADVICE.format('FILE')}",
    ("train",): "; --config.data.split=0.7,0.15,0.15 divides its rows",
}

# Corpora that need no file, from the seed and the share of weak clips.
GENERATED: Mapping[str, Callable[[int, float], Corpus]] = {
    "demo": lambda seed, weak: demo.generate(seed, weak=weak),
    "dialogue_demo": lambda seed, weak: demo_dialogues.generate(seed),
}


def read_corpus(
    options: Options,
    folder: pathlib.Path,
    other: str | os.PathLike[str] | Corpus | None = None,
    *,
    own: Corpus | None = None,
    labels: bool = True,
    with_unlabelled: bool = False,
    advise: bool = False,
    words: tuple[str, ...] = (),
    encoder: Features | None = None,
    heard: bool = False,
) -> Corpus:
    """The corpus of a recipe, or another one of its data set, with the text as the system reads it.

    Args:
      options: of the run.
      folder: its workdir.
      other: another file or corpus, whose rows are taken as they are.
      own: the recipe's corpus, where it is no file.
      labels: read them.
      with_unlabelled: keep rows without labels where labels are wanted.
      advise: where they are left out, say how to train on them too.
      words: the run's vocabulary, where its folder does not hold it yet.
      encoder: the run's frozen encoder of text, where it is loaded already.
      heard: the audio is that of the run's frozen encoder already.

    Raises:
      ValueError: `other` is neither a file nor a corpus, or cannot be read.
    """
    if not isinstance(other, str | os.PathLike | Corpus | None):
        raise ValueError(
            f"data is {reprlib.repr(other)}; give the path of a file, or a corpus of "
            "load_data"
        )
    data = options.data
    found = own if other is None else other
    if isinstance(found, Corpus):
        check_dataset(data.dataset, found)
        corpus = clean.select(identified(found, data), data.modalities)
    elif not isinstance(found, str | os.PathLike | None):
        raise ValueError(
            f"data is {reprlib.repr(found)}; give the path of a file, or a corpus of "
            "load_data"
        )
    else:
        path = None if found is None else str(found)
        corpus = _read(data, path, labels=labels)
    features.check(folder, corpus)
    if labels and not with_unlabelled:
        corpus = unlabelled.drop(corpus, advise=advise)
    if other is None:
        if data.split:
            corpus = splits.divide(corpus, data.split, seed=data.seed)
        corpus = splits.first(corpus, data.fraction)
    if options.audio.encoder:
        voice.check_rate(corpus)
    if options.audio.frozen and not heard:
        corpus = voice.prepare(options, folder, corpus)
    if options.text.vocabulary:
        return text.number_words(options, folder, corpus, words)
    if not options.text.encoder:
        return corpus
    return text.prepare(options, folder, corpus, encoder)


def wordless(
    options: Options, folder: pathlib.Path, *, encoder: Features | None = None
) -> Split:
    """A row without a transcript, with the text fields alone as `read_corpus` gives those of a file's.

    An encoder reads its special tokens there; text features have no field at all, which
    `loader.pad` fills with zeros and an all-False mask.
    """
    row = Split(np.array(["0"]), np.array([""]), {})
    corpus = Corpus(options.data.dataset, {"all": row})
    corpus = read_corpus(options, folder, corpus, labels=False, encoder=encoder)
    return corpus.splits["all"]


def content(corpus: Corpus) -> str:
    """Hash of a corpus in memory: the hash of its file, if it has one, and all its rows."""
    digest = hashlib.sha256(corpus.sha256.encode())
    for name, split in sorted(corpus.splits.items()):
        digest.update(repr((name, list(split.ids), list(split.raw_text))).encode())
        for key, array in sorted(split.arrays.items()):
            digest.update(repr((key, array.shape, str(array.dtype))).encode())
            for start in range(0, len(array), _ROWS):
                digest.update(array[start : start + _ROWS].tobytes())
    return digest.hexdigest()


def identified(corpus: Corpus, data: DataOptions) -> Corpus:
    """A corpus in memory with the hash that tells it from others.

    It is its file's, as in a run that reads the file, only where the corpus is still what
    the reader returned and was read as the run would read it: the file's hash survives any
    edit of the rows.
    """
    found, read = content(corpus), corpus.reading
    if (
        read is not None
        and read.content == found
        and {*data.modalities} <= {*read.modalities}
        and (read.format, read.encoding) == (data.format, data.encoding)
    ):
        return corpus
    return dataclasses.replace(corpus, sha256=found)


def check_dataset(name: str, corpus: Corpus) -> None:
    """Refuses a corpus of another data set than the recipe's."""
    if corpus.dataset != name:
        raise ValueError(
            f"the recipe is for the data set {name}, but the corpus was read as "
            f'{corpus.dataset}; read it with dataset="{name}", or take another recipe'
        )


def _read(data: DataOptions, path: str | None, *, labels: bool) -> Corpus:
    if path is None and data.dataset in GENERATED and not data.path:
        made = GENERATED[data.dataset](data.seed, data.weak)
        return clean.select(made, data.modalities)
    if data.weak and path is None:
        raise ValueError("config.data.weak is for the generated demo corpus alone")
    name = "/".join(part for part in (data.dataset, data.variant) if part)
    return store.open_corpus(
        path or data.path or name,
        dataset=data.dataset,
        format="" if path else data.format,
        labels=labels,
        modalities=data.modalities,
        limit=_host_limit(data.on_device),
        encoding=data.encoding,
    )


def _host_limit(on_device: str) -> float:
    """Bytes of sequences above which they stay in their store and are read row by row."""
    if on_device == "auto":
        return parallel.host_memory() // 4
    return 0 if on_device == "never" else math.inf


def training_corpus(
    options: Options, folder: pathlib.Path, own: Corpus | None = None
) -> tuple[Corpus, dict[str, str]]:
    """The corpus to train on, with the rows of other files that the recipe asks for.

    These are rows without labels (config.data.unlabelled), or those of other data sets
    (config.data.also) for a system that writes labels, which then are texts too.

    Returns:
      The corpus, and {file: sha256} of the other files.

    Raises:
      ValueError: a file cannot be read, or its rows do not fit.
    """
    read = functools.partial(read_corpus, options, folder)
    wanted = options.data.unlabelled
    if not wanted:
        corpus = read(own=own, advise=True)
        if not universal.written_by(options):
            return corpus, {}
        need_splits(corpus, ("train", "valid", "test"))
        return universal.join(options, folder, corpus, read_corpus)
    if options.data.split:
        raise ValueError(
            "config.data.split and config.data.unlabelled are both set; leave one out: only "
            "rows with labels can be divided"
        )
    corpus = read(own=own, with_unlabelled=wanted == unlabelled.OWN_ROWS)
    need_splits(corpus, ("train", "valid", "test"))
    if wanted == unlabelled.OWN_ROWS:
        return unlabelled.join(corpus, corpus.splits.get(columns.UNLABELLED)), {}
    try:
        other = read(wanted, labels=False, words=corpus.vocabulary)
    except DataError as error:
        raise DataError(f"config.data.unlabelled: {error}") from error
    try:
        joined = unlabelled.join(corpus, unlabelled.rows_of(wanted, other))
    except DataError as error:
        raise DataError(f"{wanted}: {error}") from error
    notes = (*joined.notes, *(f"{wanted}: {note}" for note in other.notes))
    return dataclasses.replace(joined, notes=notes), {wanted: other.sha256}


def phase_corpora(
    options: Options, folder: pathlib.Path, words: tuple[str, ...]
) -> dict[str, Corpus]:
    """The phases' own data by the file: {path: corpus without labels}.

    Args:
      options: of the run.
      folder: its workdir.
      words: its vocabulary, if it has one.

    Raises:
      ValueError: one cannot be read, or has no split to train on.
    """
    paths = sorted({phase.data for phase in options.plan} - {"train"})
    read = functools.partial(read_corpus, options, folder, labels=False, words=words)
    found = {path: read(path) for path in paths}
    for path, corpus in found.items():
        unlabelled.rows_of(path, corpus)
    return found


def need_splits(corpus: Corpus, names: Sequence[str]) -> None:
    """Refuses a corpus that lacks one of the splits."""
    for name in names:
        if not isinstance(name, str):
            raise ValueError(
                f"the split is {reprlib.repr(name)}; name one: "
                f"{', '.join(sorted(corpus.splits))}"
            )
        if name not in corpus.splits:
            advice = _SPLITS.get(tuple(corpus.splits), "")
            raise ValueError(
                f'the data has no split "{name}"{suggest(name, corpus.splits)}{advice}'
            )


def labelled_split(corpus: Corpus, name: str) -> tuple[str, Split, int]:
    """The rows with labels of a split.

    Args:
      corpus: to measure on.
      name: of the split; of a file without splits it is 'all'.

    Returns:
      The split's name, its labelled rows, and how many rows without labels were left out.

    Raises:
      ValueError: no such split, or no labels.
    """
    name = "all" if "all" in corpus.splits else name
    if corpus.splits.keys() != {columns.UNLABELLED}:
        need_splits(corpus, (name,))
    split = corpus.splits.get(name)
    if split is None or "label" not in split.arrays:
        raise ValueError("the data has no labels; to score it, use predict")
    labelled = split.arrays.get("labelled", np.ones(len(split), bool))
    if labelled.all():
        return name, split, 0
    return name, split.take(labelled), int(np.count_nonzero(~labelled))


def make_spec(options: Options, corpus: Corpus) -> Spec:
    """The spec of a corpus to train on, checked against what the recipe expects."""
    need_splits(corpus, ("train", "valid", "test"))
    own = models.get(options.system).own_fields
    spec = loader.make_spec(corpus, **expected(options, corpus), own_fields=own)
    if "text" not in spec.fields and not _cuts_text(options):
        raise ValueError(
            "the data has word pieces of the text but no features; name the encoder that "
            "they were made for (config.text.encoder, with config.text.frozen=True for a "
            'system that takes features), or leave "text" out of config.data.modalities'
        )
    return spec


def _cuts_text(options: Options) -> bool:
    """Whether the system reads the text in pieces: an encoder's, or words of the run's own."""
    return bool(options.text.encoder or options.text.vocabulary)


def expected(options: Options, corpus: Corpus) -> dict[str, Any]:
    """What a recipe expects of a corpus: the arguments of `loader.make_spec`."""
    data = options.data
    dims, lengths = [*data.dims], [*data.lengths]
    arrays = corpus.splits["train"].arrays
    # Pretrained encoders fix these, not the recipe's features.
    own = {}
    if _cuts_text(options):
        own[0] = arrays["text" if "text" in arrays else "text_ids"].shape[1:]
    if options.audio.frozen and "audio" in arrays:
        own[1] = arrays["audio"].shape[1:]
    for place, (steps, *width) in own.items():
        if lengths:
            lengths[place] = steps
        if dims and width:
            (dims[place],) = width
    sizes = [phase.batch_size for phase in options.plan if phase.data == "train"]
    return dict(
        dims=(*dims,),
        lengths=(*lengths,),
        truncate=data.truncate,
        batch_size=max(sizes, default=0),
        view=models.get(options.system).view,
    )
