"""The pretrained networks of a run, of text and of waves: their configs and their weights."""

import pathlib
from typing import Any

import numpy as np
from flax import traverse_util

from msajax import encoders
from msajax.data.spec import Spec
from msajax.encoders.lora import ENCODERS, is_adapter
from msajax.encoders.t5_writer import T5Writer
from msajax.models.base import Model
from msajax.run import text, voice
from msajax.run.options import Options
from msajax.train import step


def configs(
    options: Options, workdir: pathlib.Path | None, spec: Spec
) -> dict[str, Any]:
    """The networks that the system trains, by the field of each; None where it has none.

    Args:
      options: of the run.
      workdir: its folder; None where there is none.
      spec: of the data.

    Raises:
      ValueError: the system needs one or another kind of one, or there is none, or the
        data does not fit it.
    """
    return {
        "encoder": text.encoder_of(options, workdir),
        "voice": voice.encoder_of(options, workdir, spec),
    }


def keep(options: Options, workdir: pathlib.Path, words: tuple[str, ...] = ()) -> None:
    """Copies what the workdir keeps of them, not the weights, or the vocabulary."""
    text.keep(options, workdir, words)
    voice.keep(options, workdir)


def weights(
    options: Options, model: Model
) -> tuple[dict[str, np.ndarray], tuple[encoders.Report, ...]]:
    """The pretrained ones among a system's initial parameters, by their flat paths.

    Returns:
      ({'encoder/...': array}, the reports of what was read), both empty for a system
      without an encoder.
    """
    sources = dict(encoder=options.text.encoder, voice=options.audio.encoder)
    own = {k: x for k, x in step.shapes(model).params.items() if not is_adapter(k)}
    nested: Any = traverse_util.unflatten_dict(own, sep="/")
    values: dict[str, np.ndarray] = {}
    reports = []
    for field in ENCODERS:
        config = getattr(model, field, None)
        if config is None:
            continue
        params = nested[field]
        pooler = {"pooler": "pooler" in params} if field == "encoder" else {}
        network, folder = config.encoder(**pooler), encoders.locate(sources[field])
        if "decoder" in params:
            network = T5Writer(config)
        loaded, report = encoders.load(folder, network, params)
        flat: dict[str, Any] = traverse_util.flatten_dict({field: loaded}, sep="/")
        drawn = text.drawn_anew(options, own) if field == "encoder" else set()
        drawn |= {f"{field}/{k}" for k in report.missing}
        values |= {k: v for k, v in flat.items() if k not in drawn}
        reports.append(report)
    return values, tuple(reports)
