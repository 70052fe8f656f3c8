"""IML-CMM on CH-SIMS v2, unaligned: `configs/iml_cmm_simsv2.py:ROW`.

Hyperparameters: Zhang, Yang and Zhang, section 4; what the paper leaves open is in
`configs._iml_cmm`. ROW is one of its Tables 4 and 5, a name in `configs._iml_cmm.ROWS`;
'weights_0', 'weights_1', ... are draws of the search of section 5.3, and 'semi' is for
data with rows without labels.
"""

from configs import _iml_cmm, common


def get_config(row="iml_cmm"):
    config = common.get_config("iml_cmm", "simsv2")
    config.data.update(variant="unaligned", dims=(768, 25, 177), lengths=(50, 925, 232))
    config.text.update(encoder="bert-base-chinese", max_length=50)
    _iml_cmm.set_common(config)
    _iml_cmm.set_row(config, row)
    return config
