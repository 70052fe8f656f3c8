"""MAG-BERT on CH-SIMS, unaligned (hyperparameters: MMSA config_regression.json @ a94e65d)."""

from configs import common


def get_config(encoder="bert-base-chinese"):
    config = common.get_config("mag_bert", "sims")
    config.data.update(variant="unaligned", dims=(768, 33, 709), lengths=(39, 400, 55))
    config.text.update(encoder=encoder, max_length=39)
    config.model.update(align=True, gate_dropout=0.1)
    # MMSA stops by patience alone, without a limit of epochs.
    config.train.update(batch_size=32, epochs=100, patience=8)
    config.optimizer.update(learning_rate=5e-5)
    return config
