"""EF-LSTM on CMU-MOSI, aligned (hyperparameters: MMSA config_regression.json @ a94e65d)."""

from configs import common


def get_config():
    config = common.get_config("ef_lstm", "mosi")
    config.data.update(variant="aligned", dims=(768, 5, 20), lengths=(50, 50, 50))
    config.model.update(hidden_dim=128, layers=4, dropout=0.5)
    # MMSA stops by patience alone, without a limit of epochs.
    config.train.update(batch_size=32, epochs=100, patience=8)
    config.optimizer.update(learning_rate=1e-3, weight_decay=5e-3)
    return config
