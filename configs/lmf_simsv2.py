"""LMF on CH-SIMS v2, unaligned (hyperparameters: MMSA config_regression.json @ a94e65d)."""

from configs import common


def get_config():
    config = common.get_config("lmf", "simsv2")
    config.data.update(variant="unaligned", dims=(768, 25, 177), lengths=(50, 925, 232))
    config.model.update(
        hidden_dims=(64, 32, 64), rank=4, audio_dropout=0.3, vision_dropout=0.3
    )
    # MMSA stops by patience alone, without a limit of epochs.
    config.train.update(batch_size=32, epochs=100, patience=8)
    config.optimizer.update(
        learning_rate=2e-3,
        weight_decay=1e-4,
        groups=(
            (r".*_factor", dict(learning_rate=5e-4, weight_decay=0.0)),
            (r".*", {}),
        ),
    )
    return config
