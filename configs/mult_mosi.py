"""MulT on CMU-MOSI, unaligned (hyperparameters: MMSA config_regression.json @ a94e65d)."""

from configs import common


def get_config():
    config = common.get_config("mult", "mosi")
    config.data.update(variant="unaligned", dims=(768, 5, 20), lengths=(50, 375, 500))
    config.model.update(
        dim=50,
        heads=10,
        layers=4,
        kernel_sizes=(5, 5, 5),
        text_dropout=0.5,
        attention_dropouts=(0.3, 0.2, 0.0),
        relu_dropout=0.0,
        residual_dropout=0.0,
        embed_dropout=0.2,
        output_dropout=0.5,
    )
    # MMSA stops by patience alone, without a limit of epochs.
    config.train.update(batch_size=16, accumulate=8, epochs=100, patience=8)
    # MMSA sums the gradients of 8 batches, we average them: / 8 keeps their relation.
    config.optimizer.update(
        learning_rate=2e-3,
        weight_decay=5e-3 / 8,
        clip_value=0.6 / 8,
        schedule="plateau",
        plateau_patience=5,
    )
    return config
