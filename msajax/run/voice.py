"""The pretrained encoder of waves of a recipe (config.audio): where it is, and what a workdir keeps of it."""

import pathlib
import shutil

from msajax import encoders
from msajax.data import parts
from msajax.data.spec import Spec
from msajax.encoders import Voice
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
    if not options.audio.encoder:
        return None
    kept = workdir / "voice" if workdir else None
    known = kept is not None and kept.is_dir()
    folder = kept if kept and known else encoders.locate(options.audio.encoder)
    config = encoders.read_voice(folder)
    width, samples = spec.dims[1], spec.lengths[1]
    if width != 1 or samples < config.field:
        raise ValueError(
            f"config.audio.encoder reads waves: 16000 numbers a second, audio of width 1 and "
            f"at least {config.field} samples, but the audio of the data has width {width} and "
            f"{samples} steps. Give a file with the waves (config.data.path), or set "
            "config.audio.encoder to nothing to take the features"
        )
    return config
