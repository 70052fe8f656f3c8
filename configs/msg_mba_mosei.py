"""MSG/MBA on CMU-MOSEI: the recipe and the switches of configs/msg_mba_mosi.py."""

from configs import msg_mba_mosi


def get_config(encoder="bert-base-uncased"):
    config = msg_mba_mosi.get_config(encoder)
    config.data.update(dataset="mosei", dims=(1, 74, 35))
    config.train.epochs = 20
    return config
