"""Pretrained encoders of text and of raw waves, loaded from local or published weights.

folder = encoders.locate("bert-base-uncased")
config = encoders.read_config(folder)
encoder = config.encoder(dtype=jnp.bfloat16)
params = encoder.init(key, ids, mask=mask, train=False)["params"]
params, report = encoders.load(folder, encoder, params)

voice = encoders.read_voice(folder).encoder()  # of raw 16 kHz waves
params = voice.init(key, waves, mask=mask, train=False)["params"]
params, report = encoders.load(folder, voice, params)
"""

from msajax.encoders.files import fingerprint
from msajax.encoders.ids import check_ids
from msajax.encoders.kinds import Encoder, Voice
from msajax.encoders.load import Report, load, read_config, tokenizer_facts
from msajax.encoders.locate import here, licence, locate
from msajax.encoders.voice import read_any, read_voice

__all__ = [
    "Encoder",
    "Report",
    "Voice",
    "check_ids",
    "fingerprint",
    "here",
    "licence",
    "load",
    "locate",
    "read_any",
    "read_config",
    "read_voice",
    "tokenizer_facts",
]
