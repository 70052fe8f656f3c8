"""Hugging Face's config.json to the configs of our encoders, each of which says how it is read."""

import dataclasses
from collections.abc import Container, Iterable, Mapping
from typing import Any, TypeVar

from msajax.data import json_file
from msajax.data.errors import DataError

# Absent from old files of BERT and XLNet; transformers takes the same defaults.
_OPTIONAL = {
    "layer_norm_eps",
    "type_vocab_size",
    "hidden_act",
    "ff_activation",
    "dropout",
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
}

Config = TypeVar("Config")


def check_width(facts: Mapping[str, Any], name: str, width: int, same: str) -> None:
    """Refuses a width of its own where our encoder has that of something else."""
    if facts.get(name, width) != width:
        raise ValueError(
            f"the config says {name}={shown(facts[name])}, but our encoder has only "
            f"{same} = {width}"
        )


def read(
    cls: type[Config],
    facts: Mapping[str, Any],
    *,
    supported: Mapping[str, Container[Any]],
    optional: Iterable[str] = (),
    **given: Any,
) -> Config:
    """Our config from the settings of the same names.

    Args:
      cls: our config.
      facts: settings as in config.json; those that cls does not have are not read.
      supported: setting to the values that our encoder has; one that is absent is
        the default of transformers, which it has.
      optional: further settings that may be absent; our defaults are those of
        transformers.
      given: fields that are not read from facts.

    Returns:
      A cls.

    Raises:
      ValueError: a setting is missing, or has a value that our encoder does not.
    """
    plain: Any = cls()
    defaults = dataclasses.asdict(plain)
    absent = {*_OPTIONAL, *optional} - facts.keys()
    names = [name for name in defaults if name not in given and name not in absent]
    wrong = [name for name in names if not _like(facts.get(name), defaults[name])]
    if wrong:
        raise ValueError(
            "the config has no usable value of "
            + ", ".join(
                f"{name} ({shown(facts.get(name, 'missing'))})" for name in wrong
            )
        )
    for name, values in supported.items():
        if name in facts and facts[name] not in values:
            raise ValueError(
                f"the config says {name}={shown(facts[name])}, but our encoder has only "
                f"{values}"
            )
    chosen = {name: facts[name] for name in names} | given
    try:
        return json_file.check(chosen, cls)
    except DataError as error:
        raise ValueError(f"the config cannot be used: {error}") from error


def whole(facts: Mapping[str, Any], name: str, default: int) -> int:
    """A setting of one kind of network alone, with transformers' default."""
    value = facts.get(name, default)
    if not _like(value, default) or value < 0:
        raise ValueError(f"the config has no usable value of {name} ({shown(value)})")
    return value


def shown(value: Any) -> str:
    """The start of a value of a file, harmless to a terminal."""
    return ascii(value)[:60]


def _like(value: Any, default: Any) -> bool:
    if isinstance(default, bool):
        return isinstance(value, bool)
    if isinstance(default, tuple):
        return isinstance(value, tuple) and all(_like(x, default[0]) for x in value)
    # None stands for a number that only some networks have.
    kinds = (int, float) if isinstance(default, float) else type(default or 0)
    return isinstance(value, kinds) and not isinstance(value, bool)
