"""ALR on MELD's seven emotions: `configs/alr_meld.py:ROW` (hyperparameters: the paper's Table II).

ROW as in configs/alr_mosei.py. MELD's csv files have text alone; a file of
your own adds audio and vision (README, "Data").
"""

from configs import _alr


def get_config(row="alr"):
    config = _alr.get_config("meld", row)
    # Of 9989 training texts 64 have more than 40 pieces; half have at most 12.
    config.text.max_length = 40
    config.data.buckets = 4
    config.train.select = "weighted_f1"
    return config
