"""A checkpoint of a voice encoder: its config, and how its waves are prepared."""

import dataclasses
import functools
import pathlib
import typing

from msajax.data import json_file
from msajax.encoders.kinds import Voice
from msajax.encoders.load import ADVICE, read
from msajax.encoders.locate import PREPROCESSOR
from msajax.encoders.wav2vec2 import RATE

_ARCHITECTURES = {
    kind: config.read for config in typing.get_args(Voice) for kind in config.kinds
}


@dataclasses.dataclass(frozen=True)
class _Preprocessor:
    """What is read of preprocessor_config.json; transformers has the same defaults."""

    do_normalize: bool = True
    sampling_rate: int = RATE


def read_voice(folder: pathlib.Path) -> Voice:
    """The config of the voice encoder in a folder.

    Raises:
      ValueError: config.json or preprocessor_config.json is damaged, or of a network or
        waves that we do not have.
    """
    file, prepared = folder / PREPROCESSOR, _Preprocessor()
    if file.is_file():
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
