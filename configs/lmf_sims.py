"""LMF on CH-SIMS, unaligned (hyperparameters: MMSA config_regression.json @ a94e65d)."""

from configs import common


def get_config():
    config = common.get_config("lmf", "sims")
    config.data.update(variant="unaligned", dims=(768, 33, 709), lengths=(39, 400, 55))
    config.model.update(
        hidden_dims=(64, 16, 64), rank=4, audio_dropout=0.2, vision_dropout=0.2
    )
    # MMSA stops by patience alone, without a limit of epochs.
    config.train.update(batch_size=64, epochs=100, patience=8)
    config.optimizer.update(
        learning_rate=2e-3,
        weight_decay=5e-3,
        groups=(
            (r".*_factor", dict(learning_rate=5e-4, weight_decay=0.0)),
            (r".*", {}),
        ),
    )
    return config
