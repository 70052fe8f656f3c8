"""MulT on CH-SIMS, unaligned (hyperparameters: MMSA config_regression.json @ a94e65d)."""

from configs import common


def get_config():
    config = common.get_config("mult", "sims")
    config.data.update(variant="unaligned", dims=(768, 33, 709), lengths=(39, 400, 55))
    config.model.update(
        dim=50,
        heads=10,
        layers=2,
        kernel_sizes=(5, 1, 1),
        text_dropout=0.3,
        attention_dropouts=(0.2, 0.1, 0.0),
        relu_dropout=0.0,
        residual_dropout=0.2,
        embed_dropout=0.1,
        output_dropout=0.1,
    )
    # MMSA stops by patience alone, without a limit of epochs.
    config.train.update(batch_size=16, accumulate=8, epochs=100, patience=8)
    # MMSA sums the gradients of 8 batches, we average them: / 8 keeps their relation.
    config.optimizer.update(
        learning_rate=2e-3,
        weight_decay=1e-3 / 8,
        clip_value=0.6 / 8,
        schedule="plateau",
        plateau_patience=10,
    )
    return config
