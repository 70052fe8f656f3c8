"""Pretrained text encoders, loaded from local or published weights.

folder = encoders.locate("bert-base-uncased")
config = encoders.read_config(folder)
encoder = config.encoder(dtype=jnp.bfloat16)
params = encoder.init(key, ids, mask=mask, train=False)["params"]
params, report = encoders.load(folder, encoder, params)
"""

from msajax.encoders.files import fingerprint
from msajax.encoders.kinds import Encoder
from msajax.encoders.load import Report, check_ids, load, read_config, tokenizer_facts
from msajax.encoders.locate import locate

__all__ = [
    "Encoder",
    "Report",
    "check_ids",
    "fingerprint",
    "load",
    "locate",
    "read_config",
    "tokenizer_facts",
]
