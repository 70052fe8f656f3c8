"""ALR on CMU-MOSEI, unaligned: `configs/alr_mosei.py:ROW` (hyperparameters: the paper's Table II).

ROW is one of the paper's Tables V to IX, a name in `configs._alr.ROWS`. Its features are
Librosa's and OpenFace's; these are of MMSA's public file.
"""

from configs import _alr


def get_config(row="alr"):
    config = _alr.get_config("mosei", row)
    config.data.update(variant="unaligned", dims=(768, 74, 35), lengths=(50, 500, 500))
    config.text.max_length = 50
    return config
