"""The type of a system's field `encoder` where the system works with every architecture.

A system that takes one architecture only names that config instead, such as `BertConfig`.
"""

from msajax.encoders.bert import BertConfig
from msajax.encoders.deberta import DebertaConfig
from msajax.encoders.mpnet import MPNetConfig
from msajax.encoders.t5 import T5Config
from msajax.encoders.xlnet import XLNetConfig

Encoder = BertConfig | DebertaConfig | MPNetConfig | T5Config | XLNetConfig
