"""What a recipe may say of a system: the fields of its module, and which text it reads."""

import dataclasses
import re
import typing
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from msajax import models
from msajax.data import typed
from msajax.data.spec import suggest
from msajax.run.audio_options import AudioOptions

# Fields of a module that are not a recipe's.
_NOT_OPTIONS = ("spec", "encoder", "voice", "lora", "parent", "name")
# No system has as many layers, or as wide ones; more would take minutes to build.
_LAYERS, _SIZE = 1000, 2**16


def fields(system: str) -> dict[str, tuple[Any, Any]]:
    """{hyperparameter: (its type, its default)} of a system.

    Raises:
      ValueError: no such system; names the nearest one.
    """
    kind = models.get(system)
    hints = typing.get_type_hints(kind, include_extras=True)
    return {
        f.name: (hints[f.name], f.default)
        for f in dataclasses.fields(kind)
        if f.name not in _NOT_OPTIONS
    }


def check(system: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The hyperparameters of a recipe, each as the type of its field has it.

    Raises:
      ValueError: an unknown system or field, or a value that no network can have.
    """
    known, made = fields(system), {}
    for name, value in values.items():
        if name not in known:
            raise ValueError(
                f'unknown key "{name}" in config.model{suggest(name, known)}'
            )
        key, (hint, default) = f"config.model.{name}", known[name]
        value = typed.as_tuples(value)
        fixed = isinstance(default, tuple) and ... not in typing.get_args(hint)
        if fixed and isinstance(value, tuple) and len(value) != len(default):
            raise ValueError(f"{key} is {value}; give {len(default)} values: {default}")
        made[name] = typed.convert(key, value, hint)
        _check_size(key, made[name])
    criterion = str(made.get("criterion", "l1"))
    if criterion not in models.CRITERIA:
        raise ValueError(
            f'unknown criterion "{criterion}"{suggest(criterion, models.CRITERIA)}'
        )
    return made


def _check_size(key: str, value: Any) -> None:
    """Refuses numbers of a system that would be built for minutes, or not at all."""
    name = key.rpartition(".")[2]
    found: Any = np.ravel(np.asarray(value, object))
    if "dropout" in name and not all(0 <= v < 1 for v in found):
        raise ValueError(f"{key} is {value}; a dropout rate is at least 0, below 1")
    if "layers" in name and not all(0 <= v <= _LAYERS for v in found):
        raise ValueError(f"{key} is {value}; give 0 to {_LAYERS} layers")
    least = 1 if re.search(r"dim|heads|hidden", name) else 0
    if not all(least <= v <= _SIZE for v in found if type(v) is int):
        raise ValueError(f"{key} is {value}; give {least} to {_SIZE}")


def check_text(system: str, *, trained_encoder: bool, vocabulary: bool) -> None:
    """Refuses a text that the system does not read.

    Raises:
      ValueError: says what it reads.
    """
    if trained_encoder and not encoder_kinds(system):
        raise ValueError(
            f"{system} takes text features and trains no encoder; set "
            "config.text.frozen=True to compute the features of config.text.encoder once"
        )
    if vocabulary and not models.get(system).own_words:
        raise ValueError(
            f"config.text.vocabulary is set, but {system} learns no embedding of words; "
            "set it to False, or name an encoder (config.text.encoder)"
        )


def check_voice(system: str, audio: AudioOptions, modalities: Collection[str]) -> None:
    """Refuses an encoder of waves to train where the system takes none, or sees no audio.

    Raises:
      ValueError: says what to do.
    """
    if "audio" not in modalities:
        raise ValueError(
            'config.audio.encoder is set, but config.data.modalities lacks "audio"'
        )
    if not audio.frozen and "voice" not in models.get(system).__dataclass_fields__:
        raise ValueError(
            f"config.audio.encoder is {audio.encoder}, but {system} reads features of the "
            "audio, not waves; set config.audio.frozen=True to compute those of the encoder "
            "once, leave it empty, or take a system that does (mmml)"
        )


def check_labels(system: str, also: tuple[str, ...], rows: str) -> None:
    """Refuses rows to train on beside those of the data set that the system cannot learn from.

    Args:
      system: its name.
      also: other data sets (config.data.also).
      rows: those without labels (config.data.unlabelled).

    Raises:
      ValueError: says what to do.
    """
    writes = "label_ids" in models.get(system).own_fields
    if also and not writes:
        raise ValueError(
            f"config.data.also is {', '.join(also)}, but {system} learns the labels of one "
            'data set; leave it out (--config.data.also="()"), or take a system that '
            "writes universal labels (unimse)"
        )
    if rows and writes:
        raise ValueError(
            f"config.data.unlabelled is {rows}, but {system} learns from labels alone; leave "
            "it out"
        )


def check_steps(system: str, lengths: tuple[int, ...], truncate: bool) -> None:
    """Refuses lengths of sequences where the system reads dialogues, whose steps are their turns.

    Raises:
      ValueError: says what to do.
    """
    given = f"lengths is {lengths}" if lengths else "truncate is True" * truncate
    if given and models.get(system).view == "dialogue":
        raise ValueError(
            f"config.data.{given}, but {system} reads dialogues, turn by turn: of a "
            "sequence it takes the mean, and dialogues longer than those of the training "
            'split are read in pieces; leave it out (--config.data.lengths="()", '
            "--config.data.truncate=False)"
        )


def encoder_kinds(system: str) -> tuple[type, ...]:
    """The configs that a system's encoder may have, type(None) where it may lack one; () for none."""
    hint = typing.get_type_hints(models.get(system)).get("encoder")
    return typing.get_args(hint) or ((hint,) if hint else ())
