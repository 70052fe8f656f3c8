"""MulT on CMU-MOSEI, unaligned (hyperparameters: MMSA config_regression.json @ a94e65d)."""

from configs import common


def get_config():
    config = common.get_config("mult", "mosei")
    config.data.update(variant="unaligned", dims=(768, 74, 35), lengths=(50, 500, 500))
    config.model.update(
        dim=30,
        heads=6,
        layers=4,
        kernel_sizes=(5, 1, 3),
        text_dropout=0.3,
        attention_dropouts=(0.4, 0.0, 0.0),
        relu_dropout=0.0,
        residual_dropout=0.0,
        embed_dropout=0.0,
        output_dropout=0.5,
    )
    # MMSA stops by patience alone, without a limit of epochs.
    config.train.update(batch_size=4, accumulate=8, epochs=100, patience=8)
    # MMSA sums the gradients of 8 batches, we average them: / 8 keeps their relation.
    config.optimizer.update(
        learning_rate=5e-4,
        weight_decay=1e-3 / 8,
        clip_value=0.6 / 8,
        schedule="plateau",
        plateau_patience=20,
    )
    return config
