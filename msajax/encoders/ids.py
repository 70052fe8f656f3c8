"""Word pieces against the vocabulary of an encoder."""

import numpy as np

from msajax.encoders.kinds import Encoder


def check_ids(
    config: Encoder,
    ids: np.ndarray,
    segments: np.ndarray | None = None,
) -> None:
    """Refuses word pieces that an encoder has no vector for.

    Args:
      config: of the encoder.
      ids, segments: any shape, integers.

    Raises:
      ValueError: says what is out of range.
    """
    _check_range(ids, "word pieces", config.vocab_size, "words")
    kinds = getattr(config, "type_vocab_size", 0)  # 0: the encoder reads none
    if segments is not None and kinds:
        _check_range(segments, "segments", kinds, "segments")


def _check_range(values: np.ndarray, title: str, count: int, unit: str) -> None:
    low, high = int(np.min(values, initial=0)), int(np.max(values, initial=0))
    if low < 0 or high >= count:
        raise ValueError(
            f"the {title} hold the id {low if low < 0 else high}, but the encoder has "
            f"{count} {unit} (0 to {count - 1}): they were made by the tokenizer of "
            "another model. Prepare the text with the encoder's own, or choose the "
            "encoder that they were made for"
        )
