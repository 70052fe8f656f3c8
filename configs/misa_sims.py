"""MISA on CH-SIMS, unaligned: `configs/misa_sims.py:ROW` (hyperparameters: MMSA config_regression.json @ a94e65d).

ROW is one of the paper's ablation, a name in `configs._misa.ROWS`.
"""

from configs import _misa, common


def get_config(row="misa"):
    config = common.get_config("misa", "sims")
    config.data.update(dims=(768, 33, 709), lengths=(39, 400, 55))
    config.text.update(encoder="bert-base-chinese", max_length=39)
    config.model.update(
        dim=128,
        dropout=0.0,
        similarity=1.0,
        difference=0.3,
        reconstruction=0.8,
    )
    _misa.set_common(config, batch_size=64, clip=1.0)
    _misa.set_row(config, row)
    return config
