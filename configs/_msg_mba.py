"""What MSG/MBA's recipes share: the rows of the paper's Tables III, IV and V."""

from typing import Any

from configs import common

_NO_LOSS = dict(shift_weights=(0.0, 0.0, 0.0))
_NO_MBA = dict(mba=False, **_NO_LOSS)

# What each row changes in config.model; in Table IV, the modalities of the data.
ROWS: dict[str, dict[str, Any]] = {
    "msg_mba": {},
    "no_modules": dict(gates=(), **_NO_MBA),
    "msg_t": dict(gates=("text",), **_NO_MBA),
    "msg_ta": dict(gates=("text", "audio"), **_NO_MBA),
    "msg_tv": dict(gates=("text", "vision"), **_NO_MBA),
    "msg_tav": _NO_MBA,
    "no_shift_loss": _NO_LOSS,
    "audio": dict(modalities=("audio",)),
    "vision": dict(modalities=("vision",)),
    "text": dict(modalities=("text",)),
    "audio_vision": dict(modalities=("audio", "vision")),
    "text_audio": dict(modalities=("text", "audio")),
    "text_vision": dict(modalities=("text", "vision")),
}


def set_row(config: Any, row: str) -> None:
    """Sets what a row changes of the system and its data.

    Args:
      config: changed in place; its model, text and optimizer are those of the row
        'msg_mba'.
      row: a name in `ROWS`, or several joined by '+'.

    Raises:
      ValueError: an unknown row.
    """
    also = "; another encoder is config.text.encoder"
    common.change_config(config, common.join_rows(row, ROWS, also=also))
    if "text" not in config.data.modalities:  # no text to cut audio and vision at
        config.data.lengths = ()
        config.text.update(encoder="", words=False)
        groups = config.optimizer.groups
        config.optimizer.groups = tuple(g for g in groups if "encoder" not in g[0])
