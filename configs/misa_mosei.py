"""MISA on CMU-MOSEI, unaligned: `configs/misa_mosei.py:ROW` (hyperparameters: MMSA config_regression.json @ a94e65d).

ROW is one of the paper's ablation, a name in `configs._misa.ROWS`.
"""

from configs import _misa, common


def get_config(row="misa"):
    config = common.get_config("misa", "mosei")
    config.data.update(dims=(768, 74, 35), lengths=(50, 500, 500))
    config.text.update(encoder="bert-base-uncased", max_length=50)
    config.model.update(
        dim=128,
        dropout=0.5,
        similarity=0.8,
        difference=0.3,
        reconstruction=1.0,
    )
    _misa.set_common(config, batch_size=64, clip=0.8)
    _misa.set_row(config, row)
    return config
