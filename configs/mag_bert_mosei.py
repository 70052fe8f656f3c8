"""MAG-BERT on CMU-MOSEI, aligned (hyperparameters: MMSA config_regression.json @ a94e65d)."""

from configs import common


def get_config(encoder="bert-base-uncased"):
    config = common.get_config("mag_bert", "mosei")
    config.data.update(variant="aligned", dims=(768, 74, 35), lengths=(50, 50, 50))
    config.text.update(encoder=encoder, max_length=50)
    config.model.update(gate_dropout=0.2)
    # MMSA stops by patience alone, without a limit of epochs.
    config.train.update(batch_size=32, epochs=100, patience=8)
    config.optimizer.update(learning_rate=1e-5)
    return config
