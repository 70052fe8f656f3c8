"""A checkpoint of a voice encoder, or of any: its config, and how its waves are prepared."""

import dataclasses
import functools
import pathlib

from msajax.data import json_file
from msajax.encoders.kinds import Encoder, Voice, readers
from msajax.encoders.load import ADVICE, kind_of, read, read_config
from msajax.encoders.locate import PREPROCESSOR
from msajax.encoders.wav2vec2 import RATE

_ARCHITECTURES = readers(Voice)


@dataclasses.dataclass(frozen=True)
class _Preprocessor:
    """What is read of preprocessor_config.json; transformers has the same defaults."""

    do_normalize: bool = True
    sampling_rate: int = RATE


def read_voice(folder: pathlib.Path) -> Voice:
    """The config of the voice encoder in a folder.

    Raises:
      ValueError: config.json or preprocessor_config.json is missing, damaged, or of a
        network or waves that we do not have.
    """
    kind_of(folder, _ARCHITECTURES)  # before a file that only a voice has
    file = folder / PREPROCESSOR
    if not file.is_file():
        raise ValueError(
            f"{folder} has no {PREPROCESSOR}; copy it from where the weights come from: "
            "its do_normalize says whether waves are scaled (those of wav2vec2-base are, "
            "those of wavlm-base are not)"
        )
    prepared = json_file.read(
        file, _Preprocessor, advice=ADVICE, extra="ignore", nan=True
    )
    if prepared.sampling_rate != RATE:
        raise ValueError(
            f"{file} says a sampling_rate of {prepared.sampling_rate}, but our voice "
            f"encoders take waves of {RATE} samples a second; choose another checkpoint"
        )
    known = {
        kind: functools.partial(make, do_normalize=prepared.do_normalize)
        for kind, make in _ARCHITECTURES.items()
    }
    return read(folder, known)


def read_any(folder: pathlib.Path) -> Encoder | Voice:
    """The config of the encoder in a folder, of text or of voice.

    Raises:
      ValueError: as `read_config` and `read_voice`.
    """
    kind = kind_of(folder, readers(Encoder) | _ARCHITECTURES)
    return read_voice(folder) if kind in _ARCHITECTURES else read_config(folder)
