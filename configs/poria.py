"""CMU-MOSI utterance vectors on the split of Poria et al.: `configs/poria.py:SYSTEM`.

Each modality is a sequence of length one (text 100, audio 73, vision 100). No
publication gives sizes for these data. Those of EF-LSTM, LF-DNN, LMF, MulT and TFN
were chosen on the validation split, as IML-CMM's learning rate; the others' were not,
they are taken over from the demo corpus, a little wider.
"""

from configs import _cormult, _mfon, common

_MODELS = {
    "almt": dict(
        dim=64,
        tokens=4,
        head_dim=16,
        embedding_heads=4,
        embedding_mlp_dim=64,
        text_heads=4,
        text_mlp_dim=64,
        ahl_heads=4,
        fusion_heads=4,
        fusion_mlp_dim=64,
    ),
    "alr": dict(dim=64, heads=4, tokens=4, layers=3, hidden=128, dropout=0.3),
    "av_mc": dict(hidden_dims=(64, 32, 32), pooling="mean", output_range=(-3.0, 3.0)),
    "cormult": dict(mce_dim=32, mce_layers=2, mce_hidden=64, mce_out=32, causal=False),
    "ef_lstm": dict(hidden_dim=128, layers=1),
    "iml_cmm": dict(
        dim=64,
        tokens=4,
        heads=4,
        head_dim=16,
        mlp_dim=64,
        fusion_layers=2,
        attention_dim=64,
        weights=(1.0, 0.0, 0.0, 0.0),
    ),
    "lf_dnn": dict(audio_dropout=0.6, vision_dropout=0.6, post_fusion_dropout=0.5),
    "lmf": dict(rank=4),
    "mfon": dict(
        dim=64,
        heads=4,
        layers=(1, 1),
        teacher_layers=(1, 1),
        pooling="mean",
        mask="none",
        distillation=0.1,
        contrast=0.1,
    ),
    "misa": dict(dim=64, hidden=128, dropout=0.5),
    "msg_mba": dict(align=True, pooling="mean", dim=32, fusion_dim=64),
    "mult": dict(layers=2, causal=False),
    "self_mm": dict(hidden_dims=(32, 32), out_dims=(16, 16), fusion_dim=64),
    "tfn": dict(
        hidden_dims=(64, 16, 16),
        text_out=32,
        audio_dropout=0.6,
        vision_dropout=0.6,
    ),
}
# 1e-3 for the others; of 1e-3, 3e-4 and 1e-4 the best by validation loss.
_LEARNING_RATE = {"iml_cmm": 1e-4}
_WEIGHT_DECAY = {"lmf": 1e-2}


def get_config(system="lf_dnn"):
    config = common.get_config(system, "mosi")
    config.data.update(variant="poria", dims=(100, 73, 100), lengths=(1, 1, 1))
    config.model.update(_MODELS.get(system, {}))
    config.train.update(epochs=60, patience=10, batch_size=32)
    config.optimizer.update(
        learning_rate=_LEARNING_RATE.get(system, 1e-3),
        weight_decay=_WEIGHT_DECAY.get(system, 1e-3),
    )
    if system == "mfon":
        _mfon.set_row_at(config, system, learning_rate=1e-3)
    elif system == "cormult":
        _cormult.set_row(config, system, mce=dict(patience=0), fuse={})
    return config
