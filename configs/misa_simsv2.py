"""MISA on CH-SIMS v2, unaligned: `configs/misa_simsv2.py:ROW` (hyperparameters: MMSA config_regression.json @ a94e65d).

ROW is one of the paper's ablation, a name in `configs._misa.ROWS`.
"""

from configs import _misa, common


def get_config(row="misa"):
    config = common.get_config("misa", "simsv2")
    config.data.update(dims=(768, 25, 177), lengths=(50, 925, 232))
    config.text.update(encoder="bert-base-chinese", max_length=50)
    config.model.update(
        dim=64,
        dropout=0.5,
        similarity=1.0,
        difference=0.5,
        reconstruction=0.5,
    )
    _misa.set_common(config, batch_size=16, clip=0.8)
    _misa.set_row(config, row)
    return config
