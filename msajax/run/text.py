"""The pretrained encoder of a recipe (config.text): its word pieces, features and weights.

A workdir keeps the encoder's config and tokenizer, so that a trained system
reads new text without the folder that the weights came from.
"""

import dataclasses
import pathlib
import shutil
from collections.abc import Iterable

from msajax import encoders
from msajax.data import parts, vocabulary
from msajax.data.spec import Corpus, Split
from msajax.encoders import Encoder, frozen, tokenize, tokenizer_files
from msajax.encoders.context import Neighbours, own_first
from msajax.run import model_options
from msajax.run.options import Options, TextOptions
from msajax.train import optim

_PIECES = ("text_ids", "text_type", "text_own")


def find(options: Options, workdir: pathlib.Path | None) -> pathlib.Path:
    """The folder with the encoder's config and tokenizer: the workdir's, once it has one."""
    if workdir and (workdir / "encoder").is_dir():
        return workdir / "encoder"
    return encoders.locate(options.text.encoder)


def keep(options: Options, workdir: pathlib.Path, words: tuple[str, ...] = ()) -> None:
    """Copies the encoder's config and tokenizer, not its weights, or the vocabulary into the workdir."""
    if words and not (workdir / vocabulary.FILE).exists():
        vocabulary.write(words, workdir)
    kept = workdir / "encoder"
    if not options.text.encoder or kept.is_dir():
        return
    source = encoders.locate(options.text.encoder)
    with parts.replacing(kept) as part:
        part.mkdir()
        if options.text.frozen:
            frozen.keep_hash(source, part)
        for name in ("config.json", *tokenizer_files.FILES):
            if (source / name).is_file():
                shutil.copyfile(source / name, part / name)


def number_words(
    options: Options,
    workdir: pathlib.Path,
    corpus: Corpus,
    words: tuple[str, ...] = (),
) -> Corpus:
    """A corpus with the words of its raw text by the run's vocabulary (config.text.vocabulary).

    The vocabulary is that of the workdir, once it has one; else `words`; else that of
    the run that this one starts from, whose embeddings go by it; else made of the corpus.
    """
    known = vocabulary.read(workdir) or words
    if not known and options.init_from:
        folder = pathlib.Path(options.init_from)
        known = vocabulary.read(folder) or vocabulary.read(folder.parent)
    known = known or vocabulary.build(corpus)
    return vocabulary.encode(corpus, known, max_length=options.text.max_length)


def encoder_of(options: Options, workdir: pathlib.Path | None) -> Encoder | None:
    """The network that the system trains; None where it takes features.

    Args:
      options: of the run.
      workdir: its folder; None where there is none.

    Raises:
      ValueError: the system needs one, or one of another kind.
    """
    wanted = model_options.encoder_kinds(options.system)
    if not options.text.encoder or options.text.frozen:
        if wanted and type(None) not in wanted:
            raise ValueError(
                f"{options.system} changes the text inside its encoder: set "
                "config.text.encoder to a folder, an installed package or an id on the "
                "hub, and config.text.frozen=False (optimizer groups can freeze layers)"
            )
        return None
    folder = find(options, workdir)
    encoder = encoders.read_config(folder)
    if not isinstance(encoder, wanted):
        kinds = [k.__name__.removesuffix("Config") for k in wanted]
        raise ValueError(
            f"{options.system} takes an encoder of type {' or '.join(kinds)}, but {folder} "
            f"describes a {type(encoder).__name__.removesuffix('Config')}"
        )
    return encoder


def frozen_encoder(options: Options, workdir: pathlib.Path) -> frozen.Features:
    """The encoder whose features the system takes (config.text.frozen).

    Raises:
      ValueError: there is none, or its weights are not those that the run was trained on.
    """
    config = encoders.read_config(find(options, workdir))
    found = frozen.Features(encoders.locate(options.text.encoder), config)
    found.check_same(workdir / "encoder")
    return found


def prepare(
    options: Options,
    workdir: pathlib.Path,
    corpus: Corpus,
    features: frozen.Features | None = None,
) -> Corpus:
    """A corpus with the word pieces of the recipe's encoder, or its features where it is frozen.

    Args:
      options: of the run.
      workdir: its folder.
      corpus: to read.
      features: the frozen encoder, where it is loaded already.

    Raises:
      ValueError: there is no such encoder, or the corpus has no text for it.
    """
    folder, reading = find(options, workdir), options.text
    # First of all: no file of a folder with another network reaches a tokenizer.
    encoder = encoders.read_config(folder)
    corpus = tokenize.word_pieces(
        corpus,
        folder,
        network=encoders.tokenizer_facts(folder),
        max_length=reading.max_length,
        prefix=reading.prefix,
        raw=reading.raw,
        words=reading.words,
        context=neighbours(reading, segments=encoder.has_segments),
    )
    for name, split in corpus.splits.items():
        arrays = split.arrays
        try:
            encoders.check_ids(encoder, arrays["text_ids"], arrays["text_type"])
        except ValueError as error:
            raise ValueError(f'in the split "{name}", {error}') from error
    if not reading.frozen:
        return corpus
    features = features or frozen_encoder(options, workdir)
    splits = {}
    for name, split in corpus.splits.items():
        kept = {k: v for k, v in split.arrays.items() if k not in _PIECES}
        arrays = {**kept, "text": features(split.arrays)}
        if (own := split.arrays.get("text_own")) is not None:
            mask = own_first(own, own)
            arrays["text_mask"] = mask
            arrays["text"] = own_first(arrays["text"], own) * mask[..., None]
        splits[name] = Split(split.ids, split.raw_text, arrays)
    return dataclasses.replace(corpus, splits=splits)


def neighbours(reading: TextOptions, *, segments: bool) -> Neighbours | None:
    """What the recipe joins to each utterance, for a network with or without segments."""
    if not reading.joined:
        return None
    return Neighbours(
        reading.context,
        reading.context_behind,
        mark=reading.context_mark,
        segments=segments,
        speakers=reading.context_speaker,
    )


def drawn_anew(options: Options, paths: Iterable[str]) -> set[str]:
    """The parameters of the encoder's last layers that start from random values (config.text.reinit_layers).

    Args:
      options: of the run.
      paths: of its system's parameters.

    Raises:
      ValueError: the encoder has fewer layers.
    """
    count = options.text.reinit_layers
    found = {k: optim.layer_of(k) for k in paths}
    layers = {k: layer for k, layer in found.items() if layer is not None}
    total = max(layers.values(), default=-1) + 1
    if count > total:
        raise ValueError(
            f"config.text.reinit_layers is {count}, but the encoder has {total} layers"
        )
    return {k for k, layer in layers.items() if layer >= total - count}
