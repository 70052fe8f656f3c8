"""The pretrained encoder of waves of a recipe (config.audio): where it is, its features, and what a workdir keeps of it."""

import dataclasses
import functools
import pathlib
import shutil

from msajax import encoders
from msajax.data import parts
from msajax.data.spec import Corpus, Spec, Split
from msajax.encoders import Voice, frozen
from msajax.encoders.locate import CONFIG, PREPROCESSOR
from msajax.run.options import Options


def keep(options: Options, workdir: pathlib.Path) -> None:
    """Copies the encoder's config, not its weights, into the workdir."""
    kept = workdir / "voice"
    if not options.audio.encoder or kept.is_dir():
        return
    source = encoders.locate(options.audio.encoder)
    with parts.replacing(kept) as part:
        part.mkdir()
        if options.audio.frozen:
            frozen.keep_hash(source, part)
        for name in (CONFIG, PREPROCESSOR):
            shutil.copyfile(source / name, part / name)


def encoder_of(
    options: Options, workdir: pathlib.Path | None, spec: Spec
) -> Voice | None:
    """The network of waves that the system trains; None where it takes features.

    Args:
      options: of the run.
      workdir: its folder; None where there is none.
      spec: of the data.

    Raises:
      ValueError: there is no such encoder, or the data has no waves for it.
    """
    if not options.audio.encoder or options.audio.frozen:
        return None
    config = _read(options, workdir)
    _check(config, spec.dims[1], spec.lengths[1])
    return config


def frozen_encoder(options: Options, workdir: pathlib.Path) -> frozen.WaveFeatures:
    """The encoder whose features the system takes (config.audio.frozen).

    Raises:
      ValueError: there is none, or its weights are not those that the run was trained on.
    """
    config = _read(options, workdir)
    folder = encoders.locate(options.audio.encoder)
    found = frozen.WaveFeatures(folder, config, options.audio.frames)
    found.check_same(workdir / "voice")
    return found


def prepare(options: Options, workdir: pathlib.Path, corpus: Corpus) -> Corpus:
    """A corpus with the features of the recipe's frozen encoder in place of its waves.

    Args:
      options: of the run.
      workdir: its folder.
      corpus: to read.

    Raises:
      ValueError: there is no such encoder, or the corpus has no waves for it.
    """
    splits, config = {**corpus.splits}, _read(options, workdir)
    load = functools.cache(functools.partial(frozen_encoder, options, workdir))
    for name, split in corpus.splits.items():
        arrays = dict(split.arrays)
        if (waves := arrays.get("audio")) is not None:
            _check(config, waves.shape[2], waves.shape[1])
            found = load()(waves, arrays["audio_mask"])
            arrays["audio"], arrays["audio_mask"] = found
            splits[name] = Split(split.ids, split.raw_text, arrays)
    return dataclasses.replace(corpus, splits=splits)


def _read(options: Options, workdir: pathlib.Path | None) -> Voice:
    kept = workdir / "voice" if workdir else None
    known = kept is not None and kept.is_dir()
    folder = kept if kept and known else encoders.locate(options.audio.encoder)
    return encoders.read_voice(folder)


def _check(config: Voice, width: int, samples: int) -> None:
    """Refuses an array that holds no waves."""
    if width != 1 or samples < config.field:
        raise ValueError(
            f"config.audio.encoder reads waves: 16000 numbers a second, audio of width 1 and "
            f"at least {config.field} samples, but the audio of the data has width {width} and "
            f"{samples} steps. Give a file with the waves (config.data.path), or set "
            "config.audio.encoder to nothing to take the features"
        )
