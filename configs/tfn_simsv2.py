"""TFN on CH-SIMS v2, unaligned (hyperparameters: MMSA config_regression.json @ a94e65d)."""

from configs import common


def get_config():
    config = common.get_config("tfn", "simsv2")
    config.data.update(variant="unaligned", dims=(768, 25, 177), lengths=(50, 925, 232))
    config.model.update(
        hidden_dims=(128, 32, 128),
        text_out=128,
        post_fusion_dim=32,
        audio_dropout=0.3,
        vision_dropout=0.3,
        post_fusion_dropout=0.5,
    )
    # MMSA stops by patience alone, without a limit of epochs.
    config.train.update(batch_size=128, epochs=100, patience=8)
    config.optimizer.update(learning_rate=2e-3)
    return config
