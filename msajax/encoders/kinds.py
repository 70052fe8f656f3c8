"""The types of a system's fields that take an encoder: of text, `Encoder`; of raw waves, `Voice`.

A system that takes one architecture only names that config instead, such as `BertConfig`.
These are the only lists of the encoders: a config says which types of networks in a
config.json it is of and how it is read, an encoder its parameters' names in PyTorch's files.
"""

import typing
from collections.abc import Callable
from typing import Any

from msajax.encoders.bert import BertConfig
from msajax.encoders.deberta import DebertaConfig
from msajax.encoders.mpnet import MPNetConfig
from msajax.encoders.t5 import T5Config
from msajax.encoders.wav2vec2 import Wav2Vec2Config
from msajax.encoders.wavlm import WavLMConfig
from msajax.encoders.xlnet import XLNetConfig

Encoder = BertConfig | DebertaConfig | MPNetConfig | T5Config | XLNetConfig
Voice = Wav2Vec2Config | WavLMConfig


def readers(encoders: Any) -> dict[str, Callable[..., Any]]:
    """How a config.json is read, by its model_type, for one of the two lists."""
    return {
        kind: config.read
        for config in typing.get_args(encoders)
        for kind in config.kinds
    }
