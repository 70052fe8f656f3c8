"""The pretrained encoder of waves of a recipe (config.audio): where it is, its features, and what a workdir keeps of it."""

import dataclasses
import pathlib
import shutil

import numpy as np

from msajax import encoders
from msajax.data import loader, parts
from msajax.data.spec import Corpus, Spec, Split
from msajax.encoders import Voice, frozen
from msajax.encoders.locate import CONFIG, PREPROCESSOR
from msajax.encoders.wav2vec2 import RATE
from msajax.media import settings
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

    All splits have as many steps, those of the longest wave, or of the length that longer ones
    are cut to.

    Args:
      options: of the run.
      workdir: its folder.
      corpus: to read.

    Raises:
      ValueError: there is no such encoder, or the corpus has no waves for it.
    """
    heard = {k: x for k, x in corpus.splits.items() if "audio" in x.arrays}
    if not heard:
        return corpus
    features, data = frozen_encoder(options, workdir), options.data
    lengths = [np.sum(x.arrays["audio_mask"], axis=1) for x in heard.values()]
    longest = max(int(n.max(initial=0)) for n in lengths)
    if data.truncate and data.lengths:
        longest = min(longest, features.samples(data.lengths[1]))
    splits = {**corpus.splits}
    for name, split in heard.items():
        waves, mask = split.arrays["audio"], split.arrays["audio_mask"]
        _check(features.config, waves.shape[2], longest)
        size = max(longest, 1)
        audio, mask = features(loader.resize(waves, size), loader.resize(mask, size))
        arrays = {**split.arrays, "audio": audio, "audio_mask": mask}
        splits[name] = Split(split.ids, split.raw_text, arrays)
    return dataclasses.replace(corpus, splits=splits)


def check_rate(corpus: Corpus) -> None:
    """Refuses sound that is known to be no waves of the encoders' rate.

    Raises:
      ValueError: says what it is.
    """
    if not corpus.media:
        return
    found = settings.of_json(corpus.media, name="the settings of the data").audio
    if found and (found.kind, found.rate) != ("wave", RATE):
        raise ValueError(
            f"config.audio.encoder reads waves of {RATE} samples a second, but the audio "
            f"of the data is {settings.describe(found)}; extract it by --audio wave "
            "(tools/extract_features.py)"
        )


def _read(options: Options, workdir: pathlib.Path | None) -> Voice:
    if workdir and (workdir / "voice").is_dir():
        return encoders.read_voice(workdir / "voice")
    return encoders.read_voice(encoders.locate(options.audio.encoder))


def _check(config: Voice, width: int, samples: int) -> None:
    """Refuses an array that holds no waves; one without sound has 0 samples."""
    if width != 1 or 0 < samples < config.field:
        raise ValueError(
            f"config.audio.encoder reads waves: 16000 numbers a second, audio of width 1 and "
            f"at least {config.field} samples, but the audio of the data has width {width} and "
            f"{samples} steps. Give a file with the waves (config.data.path), or leave "
            "config.audio.encoder and config.audio.frozen out to take the features"
        )
