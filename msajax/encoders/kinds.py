"""The types of a system's fields that take an encoder: of text, `Encoder`; of raw waves, `Voice`.

A system that takes one architecture only names that config instead, such as `BertConfig`.
These are the only lists of the encoders: a config says which types of networks in a
config.json it is of and how it is read, an encoder its parameters' names in PyTorch's files.
"""

from msajax.encoders.bert import BertConfig
from msajax.encoders.deberta import DebertaConfig
from msajax.encoders.mpnet import MPNetConfig
from msajax.encoders.t5 import T5Config
from msajax.encoders.wav2vec2 import Wav2Vec2Config
from msajax.encoders.wavlm import WavLMConfig
from msajax.encoders.xlnet import XLNetConfig

Encoder = BertConfig | DebertaConfig | MPNetConfig | T5Config | XLNetConfig
Voice = Wav2Vec2Config | WavLMConfig
