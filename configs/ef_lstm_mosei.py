"""EF-LSTM on CMU-MOSEI, aligned (hyperparameters: MMSA config_regression.json @ a94e65d)."""

from configs import common


def get_config():
    config = common.get_config("ef_lstm", "mosei")
    config.data.update(variant="aligned", dims=(768, 74, 35), lengths=(50, 50, 50))
    config.model.update(hidden_dim=256, layers=2, dropout=0.4)
    # MMSA stops by patience alone, without a limit of epochs.
    config.train.update(batch_size=128, epochs=100, patience=8)
    config.optimizer.update(learning_rate=5e-3, weight_decay=1e-4)
    return config
