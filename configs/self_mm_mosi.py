"""Self-MM on CMU-MOSI, unaligned: `configs/self_mm_mosi.py:ROW` (hyperparameters: MMSA config_regression.json @ a94e65d).

ROW is one of the paper's ablation of tasks, a name in `configs._self_mm.ROWS`.
"""

from configs import _self_mm, common


def get_config(row="self_mm"):
    config = common.get_config("self_mm", "mosi")
    config.data.update(dims=(768, 5, 20), lengths=(50, 375, 500))
    config.text.update(encoder="bert-base-uncased", max_length=50)
    config.model.update(
        hidden_dims=(16, 32),
        out_dims=(16, 32),
        post_dims=(32, 16, 32),
        fusion_dim=128,
        post_dropouts=(0.1, 0.1, 0.0),
        fusion_dropout=0.0,
        bound=3.0,
        exclude_zero=True,
    )
    groups = dict(
        encoder=(5e-5, 1e-3),
        audio=(5e-3, 1e-3),
        vision=(5e-3, 1e-3),
        other=(1e-3, 1e-3),
    )
    _self_mm.set_common(config, batch_size=16, groups=groups)
    _self_mm.set_row(config, row)
    return config
