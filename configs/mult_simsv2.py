"""MulT on CH-SIMS v2, unaligned (hyperparameters: MMSA config_regression.json @ a94e65d)."""

from configs import common


def get_config():
    config = common.get_config("mult", "simsv2")
    config.data.update(variant="unaligned", dims=(768, 25, 177), lengths=(50, 925, 232))
    config.model.update(
        dim=30,
        heads=6,
        layers=4,
        kernel_sizes=(5, 3, 1),
        text_dropout=0.5,
        attention_dropouts=(0.1, 0.2, 0.0),
        relu_dropout=0.1,
        residual_dropout=0.0,
        embed_dropout=0.2,
        output_dropout=0.3,
    )
    # MMSA stops by patience alone, without a limit of epochs.
    config.train.update(batch_size=16, accumulate=8, epochs=100, patience=8)
    # MMSA sums the gradients of 8 batches, we average them: / 8 keeps their relation.
    config.optimizer.update(
        learning_rate=5e-4,
        weight_decay=5e-3 / 8,
        clip_value=1.0 / 8,
        schedule="plateau",
        plateau_patience=10,
    )
    return config
