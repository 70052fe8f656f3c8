"""EF-LSTM on CH-SIMS, unaligned (hyperparameters: MMSA config_regression.json @ a94e65d)."""

from configs import common


def get_config():
    config = common.get_config("ef_lstm", "sims")
    config.data.update(variant="unaligned", dims=(768, 33, 709), lengths=(39, 400, 55))
    config.model.update(hidden_dim=32, layers=3, dropout=0.5)
    # MMSA stops by patience alone, without a limit of epochs.
    config.train.update(batch_size=128, epochs=100, patience=8)
    config.optimizer.update(learning_rate=5e-4, weight_decay=1e-3)
    return config
