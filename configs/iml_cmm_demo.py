"""IML-CMM on the embedded demo corpus: `configs/iml_cmm_demo.py:ROW`, a name in `configs._iml_cmm.ROWS`."""

from configs import _iml_cmm, demo


def get_config(row="iml_cmm"):
    config = demo.get_config("iml_cmm")
    config.model.weights = (1.0, 0.2, 0.8, 0.4)
    config.model.mixed = ("audio", "vision")
    _iml_cmm.set_row(config, row)
    return config
