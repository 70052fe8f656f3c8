"""CorMulT on CMU-MOSI, unaligned: `configs/cormult_mosi.py:ROW` (hyperparameters: YAMY1234/CorMulT @ 8791876, MOSEI's).

ROW is a name in `configs._cormult.ROWS`, or a place in the grid as t64_o200;
`paper+strategy_a` is both rows.
"""

from configs import _cormult, common


def get_config(row="cormult"):
    config = common.get_config("cormult", "mosi")
    config.data.update(variant="unaligned", dims=(768, 5, 20), lengths=(50, 375, 500))
    _cormult.set_authors(config, row)
    return config
