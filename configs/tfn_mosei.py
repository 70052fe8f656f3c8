"""TFN on CMU-MOSEI, unaligned (hyperparameters: MMSA config_regression.json @ a94e65d)."""

from configs import common


def get_config():
    config = common.get_config("tfn", "mosei")
    config.data.update(variant="unaligned", dims=(768, 74, 35), lengths=(50, 500, 500))
    config.model.update(
        hidden_dims=(128, 16, 128),
        text_out=128,
        post_fusion_dim=16,
        audio_dropout=0.4,
        vision_dropout=0.4,
        post_fusion_dropout=0.4,
    )
    # MMSA stops by patience alone, without a limit of epochs.
    config.train.update(batch_size=128, epochs=100, patience=8)
    config.optimizer.update(learning_rate=5e-3)
    return config
