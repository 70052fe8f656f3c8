"""Pretrained text encoders, from the weights that people have.

folder = pretrained.locate("bert-base-uncased")
config = pretrained.read_config(folder)
encoder = config.encoder(dtype=jnp.bfloat16)
params = encoder.init(key, ids, mask=mask, train=False)["params"]
params, report = pretrained.load(folder, encoder, params)
"""

from msajax.pretrained.load import (
    Report,
    check_ids,
    load,
    read_config,
    tokenizer_facts,
)
from msajax.pretrained.locate import locate
from msajax.pretrained.weights import fingerprint

__all__ = [
    "Report",
    "check_ids",
    "fingerprint",
    "load",
    "locate",
    "read_config",
    "tokenizer_facts",
]
