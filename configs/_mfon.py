"""What MFON's recipes share: its three phases, and the rows of the paper's Tables 4 and 5."""

from collections.abc import Mapping
from typing import Any

from configs import common

# What each row changes in config.model. Fig. 4(a) is 'no_mpa+no_losses'.
ROWS: dict[str, dict[str, Any]] = {
    "mfon": {},
    "text": {"modality": "text"},
    "vision": {"modality": "vision"},
    "audio": {"modality": "audio"},
    "no_distillation": {"distillation": 0.0},
    "no_contrast": {"contrast": 0.0},
    "no_losses": {"distillation": 0.0, "contrast": 0.0},
    "no_mpa": {"attention": False},
    "no_prompts": {"prompts": False},
    "vision_query": {"query": "vision"},
    "audio_query": {"query": "audio"},
    # Equation (6), KL(Z || x), as printed; the authors' code has KL(x || Z).
    "equation_6": {"reverse_kl": True},
}

Settings = Mapping[str, float]


def set_row_at(config: Any, row: str, *, learning_rate: float) -> None:
    """`set_row` with one learning rate for all parts of teachers and fusion."""
    names = "text", "audio", "vision", "other"
    parts = {name: {"learning_rate": learning_rate} for name in names}
    set_row(config, row, teachers=parts, groups=parts)


def set_row(
    config: Any,
    row: str,
    *,
    teachers: Mapping[str, Settings],
    groups: Mapping[str, Settings],
) -> None:
    """Sets the phases of a row, and what it changes of the system and its data.

    Args:
      config: changed in place; its model is that of the row 'mfon'.
      row: a name in `ROWS`, or several joined by '+', as 'no_mpa+no_losses'.
      teachers: optimizer settings of the teachers of audio and vision.
      groups: those of text (its encoder too), audio, vision, and 'other' (the
        last layers). Text that is attended to in place of another modality has its
        attention and prompt in the other's group.

    Raises:
      ValueError: an unknown row.
    """
    common.change_config(config, common.join_rows(row, ROWS))
    alone = config.model.get("modality", "")
    if alone:
        config.data.modalities = (alone,)
    if alone in ("audio", "vision"):
        config.text.encoder = ""
        config.phases = (dict(name=alone, optimizer=_teaches(teachers[alone])),)
        return
    regexes = {"text": r"(encoder|project_text)/.*"}
    if not alone:
        query = config.model.get("query", "text")
        for m in ("audio", "vision"):
            attended = "text" if m == query else m
            regexes[m] = rf"project_{m}/.*|(prompt|mpa)_{attended}(/.*)?"
    regexes["other"] = r"decoder/.*"
    pairs = tuple((regex, groups[name]) for name, regex in regexes.items())
    fuse = dict(name="fuse", train=r"(?!teacher_).*", optimizer=dict(groups=pairs))
    taught = not alone and config.model.distillation > 0
    first = ("vision", "audio") if taught else ()
    config.phases = (*(_phase(m, teachers[m]) for m in first), fuse)


def _phase(modality: str, settings: Settings) -> dict[str, Any]:
    return dict(
        name=modality,
        loss=f"{modality}_loss",
        predict=f"{modality}_pred",
        train=rf"teacher_{modality}/.*",
        optimizer=_teaches(settings),
    )


def _teaches(settings: Settings) -> dict[str, Any]:
    return dict(name="amsgrad", **settings)
