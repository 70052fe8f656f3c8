"""What config.text may say: which text a system reads."""

import typing
from typing import Any

from msajax import models


def check(config: Any) -> None:
    """Refuses settings of the text that do not fit each other or the system.

    Raises:
      ValueError: says which.
    """
    text = config.text
    if text.max_length < 1:
        raise ValueError(f"config.text.max_length is {text.max_length}; give 1 or more")
    for key in ("encoder", "vocabulary"):
        if text[key] and "text" not in config.data.modalities:
            raise ValueError(
                f'config.text.{key} is set, but config.data.modalities lacks "text"'
            )
    if text.vocabulary and text.encoder:
        raise ValueError(
            "config.text.vocabulary and config.text.encoder are both set; leave one out: a "
            "system reads words by an embedding of its own, or by a pretrained encoder"
        )
    if not text.encoder:
        for key in ("frozen", "raw", "words"):
            if text[key]:
                raise ValueError(
                    f"config.text.{key} is set, but config.text.encoder names no encoder; "
                    "give a folder, an installed package or an id on the hub"
                )
    elif not text.frozen and not encoder_kinds(config.system):
        raise ValueError(
            f"{config.system} takes text features and trains no encoder; set "
            "config.text.frozen=True to compute the features of config.text.encoder once"
        )
    if text.vocabulary and not models.get(config.system).own_words:
        raise ValueError(
            f"config.text.vocabulary is set, but {config.system} learns no embedding of "
            "words; set it to False, or name an encoder (config.text.encoder)"
        )


def encoder_kinds(system: str) -> tuple[type, ...]:
    """The configs that a system's encoder may have, type(None) where it may lack one; () for none."""
    hint = typing.get_type_hints(models.get(system)).get("encoder")
    return typing.get_args(hint) or ((hint,) if hint else ())
