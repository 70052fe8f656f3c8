"""LMF on CMU-MOSEI, unaligned (hyperparameters: MMSA config_regression.json @ a94e65d)."""

from configs import common


def get_config():
    config = common.get_config("lmf", "mosei")
    config.data.update(variant="unaligned", dims=(768, 74, 35), lengths=(50, 500, 500))
    config.model.update(
        hidden_dims=(128, 16, 128), rank=4, audio_dropout=0.2, vision_dropout=0.2
    )
    # MMSA stops by patience alone, without a limit of epochs.
    config.train.update(batch_size=32, epochs=100, patience=8)
    config.optimizer.update(
        learning_rate=1e-3,
        weight_decay=1e-3,
        groups=(
            (r".*_factor", dict(learning_rate=1e-3, weight_decay=0.0)),
            (r".*", {}),
        ),
    )
    return config
