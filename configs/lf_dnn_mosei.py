"""LF-DNN on CMU-MOSEI, unaligned (hyperparameters: MMSA config_regression.json @ a94e65d)."""

from configs import common


def get_config():
    config = common.get_config("lf_dnn", "mosei")
    config.data.update(variant="unaligned", dims=(768, 74, 35), lengths=(50, 500, 500))
    config.model.update(
        hidden_dims=(128, 32, 128),
        text_out=128,
        post_fusion_dim=128,
        audio_dropout=0.2,
        vision_dropout=0.2,
        post_fusion_dropout=0.2,
    )
    # MMSA stops by patience alone, without a limit of epochs.
    config.train.update(batch_size=64, epochs=100, patience=8)
    config.optimizer.update(learning_rate=2e-3, weight_decay=1e-3)
    return config
