"""What MISA's recipes share: the training of thuiar/MMSA, and rows of the paper's ablation."""

from typing import Any

from configs import common

# What each row changes in config.model; without a modality, in the data.
ROWS: dict[str, dict[str, Any]] = {
    "misa": {},
    "no_similarity": dict(similarity=0.0),
    "no_difference": dict(difference=0.0),
    "no_reconstruction": dict(reconstruction=0.0),
    "no_text": dict(modalities=("audio", "vision")),
    "no_audio": dict(modalities=("text", "vision")),
    "no_vision": dict(modalities=("text", "audio")),
}


def set_common(config: Any, *, batch_size: int, clip: float) -> None:
    """Sets what the recipes of all datasets share.

    Args:
      config: changed in place.
      batch_size: MMSA's.
      clip: MMSA's largest absolute value in the gradient.
    """
    config.data.variant = "unaligned"
    # MMSA stops by patience alone, without a limit of epochs.
    config.train.update(batch_size=batch_size, accumulate=2, epochs=100, patience=8)
    # MMSA sums the gradients of 2 batches, we average them: / 2 keeps their relation. It
    # lists weight decays, but its optimizer is not given them.
    config.optimizer.update(learning_rate=1e-4, clip_value=clip / 2)


def set_row(config: Any, row: str) -> None:
    """Sets what a row changes.

    Args:
      config: changed in place; its model is that of the row 'misa'.
      row: a name in `ROWS`, or several joined by '+'.

    Raises:
      ValueError: an unknown row.
    """
    common.change_config(config, common.join_rows(row, ROWS))
    if "text" not in config.data.modalities:
        config.text.encoder = ""
