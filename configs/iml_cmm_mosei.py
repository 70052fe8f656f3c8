"""IML-CMM on CMU-MOSEI, unaligned: `configs/iml_cmm_mosei.py:ROW`, as on CH-SIMS v2.

The paper has no results on it. It has no labels of single modalities: the losses on
them fall away, so the rows of Table 5 and `no_ufa` do not differ here, drawn weights
differ in M's alone, and mixed rows go on to the fusion and M's prediction.
"""

from configs import _iml_cmm, common


def get_config(row="iml_cmm"):
    config = common.get_config("iml_cmm", "mosei")
    config.data.update(variant="unaligned", dims=(768, 74, 35), lengths=(50, 500, 500))
    config.text.update(encoder="bert-base-uncased", max_length=50)
    _iml_cmm.set_common(config)
    _iml_cmm.set_row(config, row)
    return config
