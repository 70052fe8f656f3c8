"""ALR on six emotions of IEMOCAP: `configs/alr_iemocap.py:ROW` (hyperparameters: the paper's Table II).

ROW as in configs/alr_mosei.py. IEMOCAP has no public file: give one of your own
(README, "Data").
"""

from configs import _alr


def get_config(row="alr"):
    config = _alr.get_config("iemocap", row)
    config.text.max_length = 50
    config.data.buckets = 4
    config.train.select = "weighted_f1"
    return config
