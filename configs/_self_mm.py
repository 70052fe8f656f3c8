"""What Self-MM's recipes share: the training of thuiar/MMSA, and the rows of the paper's ablation of tasks."""

from collections.abc import Mapping
from typing import Any

from configs import common
from msajax.data.spec import MODALITIES

# Of each row the tasks, as letters: M all modalities; T, A, V text, audio, vision.
ROWS = {
    "self_mm": "MTAV",
    **{tasks.lower(): tasks for tasks in ("M", "MV", "MT", "MA", "MAV", "MTV", "MTA")},
}

# Learning rate and weight decay.
Pair = tuple[float, float]


def set_common(config: Any, *, batch_size: int, groups: Mapping[str, Pair]) -> None:
    """Sets what the recipes of all datasets share.

    Args:
      config: changed in place.
      batch_size: MMSA's.
      groups: MMSA's (learning rate, weight decay) of 'encoder', 'audio', 'vision' and
        'other'. The encoder's biases and norms do not decay.
    """
    config.data.variant = "unaligned"
    # MMSA stops by patience alone, without a limit of epochs.
    config.train.update(batch_size=batch_size, accumulate=4, epochs=100, patience=8)
    # MMSA sums the gradients of 4 batches, we average them: / 4 keeps their relation.
    scaled = {
        name: dict(learning_rate=rate, weight_decay=decay / 4)
        for name, (rate, decay) in groups.items()
    }
    config.optimizer.groups = (
        (r"encoder/.*(bias|[nN]orm/scale)", scaled["encoder"] | {"weight_decay": 0.0}),
        (r"encoder/.*", scaled["encoder"]),
        (r"audio/.*", scaled["audio"]),
        (r"vision/.*", scaled["vision"]),
        (r".*", scaled["other"]),
    )


def set_row(config: Any, row: str) -> None:
    """Sets the tasks of a row.

    Args:
      config: changed in place.
      row: a name in `ROWS`, or several joined by '+'.

    Raises:
      ValueError: an unknown row.
    """
    config.model.tasks = MODALITIES
    rows = {
        name: dict(tasks=tuple(m for m in MODALITIES if m[0].upper() in letters))
        for name, letters in ROWS.items()
        if name != "self_mm"
    }
    rows["self_mm"] = {}
    common.change_config(config, common.join_rows(row, rows))
