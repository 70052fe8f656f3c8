"""LF-DNN on CH-SIMS v2, unaligned (hyperparameters: MMSA config_regression.json @ a94e65d)."""

from configs import common


def get_config():
    config = common.get_config("lf_dnn", "simsv2")
    config.data.update(variant="unaligned", dims=(768, 25, 177), lengths=(50, 925, 232))
    config.model.update(
        hidden_dims=(64, 32, 64),
        text_out=256,
        post_fusion_dim=32,
        audio_dropout=0.4,
        vision_dropout=0.4,
        post_fusion_dropout=0.4,
    )
    # MMSA stops by patience alone, without a limit of epochs.
    config.train.update(batch_size=128, epochs=100, patience=8)
    config.optimizer.update(learning_rate=5e-3)
    return config
