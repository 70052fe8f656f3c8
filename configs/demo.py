"""The embedded demo corpus: `configs/demo.py`, or `configs/demo.py:SYSTEM` for another system."""

from configs import common

# Sizes that train in seconds on two cores.
_MODELS = {
    "ef_lstm": dict(),
    "lf_dnn": dict(),
    "lmf": dict(),
    "mult": dict(),
    "tfn": dict(),
}


def get_config(system="mult"):
    config = common.get_config(system, "demo")
    config.model.update(_MODELS[system])
    config.train.update(seeds=(1, 2, 3), epochs=30, batch_size=32)
    return config
