"""The embedded demo corpus: `configs/demo.py:SYSTEM`, or `configs/demo.py:SYSTEM/ROW` for a row of its ablations."""

import functools

from configs import _alr, _cormult, _iml_cmm, _mfon, _misa, _msg_mba, _self_mm, common

# Sizes that train in seconds to a minute or two on two cores.
_MODELS = {
    "alr": dict(dim=32, heads=4, tokens=4, layers=3, hidden=64, dropout=0.1),
    "almt": dict(
        dim=32,
        tokens=4,
        head_dim=16,
        embedding_heads=2,
        embedding_mlp_dim=32,
        text_heads=2,
        text_mlp_dim=32,
        ahl_heads=2,
        fusion_heads=2,
        fusion_mlp_dim=32,
    ),
    "av_mc": dict(hidden_dims=(32, 16, 16), pooling="mean", output_range=(-3.0, 3.0)),
    "cormult": dict(  # loss, widths and dropout of MulT's, to be compared with it
        criterion="l1",
        mce_dim=32,
        mce_layers=2,
        mce_hidden=64,
        mce_steps=8,
        mce_out=32,
        dim=16,
        heads=2,
        layers=2,
        attention_dropouts=(0.1, 0.0, 0.0),
    ),
    "ef_lstm": dict(hidden_dim=64, layers=1),
    "iml_cmm": dict(
        dim=32,
        tokens=4,
        heads=2,
        head_dim=16,
        mlp_dim=32,
        fusion_layers=2,
        attention_dim=32,
        weights=(1.0, 0.2, 0.8, 0.4),
        mixed=("audio", "vision"),
    ),
    "lf_dnn": dict(hidden_dims=(32, 16, 16), text_out=32, post_fusion_dim=32),
    "lmf": dict(hidden_dims=(32, 16, 16)),
    "mag_bert": dict(align=True),
    "mag_xlnet": dict(align=True),
    "mfon": dict(
        dim=32,
        heads=4,
        layers=(1, 1),
        teacher_layers=(1, 1),
        pooling="mean",
        mask="none",
        distillation=0.1,
        contrast=0.1,
        own_labels=True,
    ),
    "misa": dict(dim=32, hidden=64),
    "msg_mba": dict(align=True, pooling="mean", dim=16, fusion_dim=32),
    "mult": dict(dim=16, heads=2, layers=2),
    "self_mm": dict(
        pooling="mean",
        hidden_dims=(16, 16),
        out_dims=(16, 16),
        post_dims=(32, 16, 16),
        fusion_dim=32,
    ),
    "tfn": dict(hidden_dims=(32, 16, 16), text_out=16, post_fusion_dim=32),
}


def _cormult_row(config, row):
    rate = {"learning_rate": 1e-3}
    mce = dict(epochs=100, patience=0, optimizer=rate)
    _cormult.set_row(config, row, mce=mce, fuse=dict(optimizer=rate))


_ROWS = {
    "alr": _alr.set_row,
    "cormult": _cormult_row,
    "iml_cmm": _iml_cmm.set_row,
    "mfon": functools.partial(_mfon.set_row_at, learning_rate=1e-3),
    "misa": _misa.set_row,
    "msg_mba": _msg_mba.set_row,
    "self_mm": _self_mm.set_row,
}

# They need an encoder (--config.text.encoder), and it a learning rate of its own.
_FINE_TUNED = {"mag_bert", "mag_xlnet"}


def get_config(system="lf_dnn"):
    system, _, row = system.partition("/")
    config = common.get_config(system, "demo")
    config.model.update(_MODELS.get(system, {}))
    config.train.update(seeds=(1, 2, 3), epochs=30, batch_size=32)
    if system in _FINE_TUNED:
        config.train.epochs = 10
        common.fine_tune(config, learning_rate=1e-4, head=1e-3)
    if system in _ROWS:
        _ROWS[system](config, row or system)
    elif row:
        raise ValueError(f'{system} has no rows; leave out "/{row}"')
    return config
