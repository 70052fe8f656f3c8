"""MSG/MBA on CMU-MOSEI: the recipe and the rows of configs/msg_mba_mosi.py."""

from configs import msg_mba_mosi


def get_config(row="msg_mba"):
    config = msg_mba_mosi.get_config(row)
    # MMSA's aligned file: variant="aligned", dims=(768, 74, 35), and text.words=False.
    config.data.update(dataset="mosei", dims=(1, 74, 35))
    config.train.epochs = 20
    return config
