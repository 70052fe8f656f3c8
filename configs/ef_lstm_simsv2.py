"""EF-LSTM on CH-SIMS v2, unaligned (hyperparameters: MMSA config_regression.json @ a94e65d)."""

from configs import common


def get_config():
    config = common.get_config("ef_lstm", "simsv2")
    config.data.update(variant="unaligned", dims=(768, 25, 177), lengths=(50, 925, 232))
    config.model.update(hidden_dim=128, layers=3, dropout=0.2)
    # MMSA stops by patience alone, without a limit of epochs.
    config.train.update(batch_size=32, epochs=100, patience=8)
    config.optimizer.update(learning_rate=5e-4)
    return config
