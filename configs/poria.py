"""CMU-MOSI utterance vectors on the split of Poria et al.: `configs/poria.py:SYSTEM`.

Each modality is a sequence of length one (text 100, audio 73, vision 100). The
sizes are ours, chosen on the validation split; no publication gives them.
"""

from configs import common

_MODELS = {
    "ef_lstm": dict(hidden_dim=128, layers=1),
    "lf_dnn": dict(audio_dropout=0.6, vision_dropout=0.6, post_fusion_dropout=0.5),
    "lmf": dict(rank=4),
    "misa": dict(dim=64, hidden=128, dropout=0.5),  # not chosen, as self_mm's
    "mult": dict(layers=2, causal=False),
    "self_mm": dict(hidden_dims=(32, 32), out_dims=(16, 16), fusion_dim=64),
    "tfn": dict(
        hidden_dims=(64, 16, 16),
        text_out=32,
        audio_dropout=0.6,
        vision_dropout=0.6,
    ),
}
_WEIGHT_DECAY = {"lmf": 1e-2}


def get_config(system="lf_dnn"):
    config = common.get_config(system, "mosi")
    config.data.update(variant="poria", dims=(100, 73, 100), lengths=(1, 1, 1))
    config.model.update(_MODELS.get(system, {}))
    config.train.update(epochs=60, patience=10, batch_size=32)
    decay = _WEIGHT_DECAY.get(system, 1e-3)
    config.optimizer.update(learning_rate=1e-3, weight_decay=decay)
    return config
