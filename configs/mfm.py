"""MFM: `configs/mfm.py:DATASET[/ROW]`, hyperparameters of MMSA's config_regression.json @ a94e65d.

MMSA's trainer ignores the learning rate of that file and takes Adam's 1e-3:
`--config.optimizer.learning_rate=1e-3` is what it computes.
"""

from msajax.run import recipe

_MOSI = dict(
    data=dict(variant="aligned"),
    model=dict(
        hidden_dims=(128, 32, 128),
        latent_dims=(80, 64, 80, 80),
        factor_dims=(64, 32, 16, 64),
        factor_dropouts=(0.5, 0.5, 0.7, 0.5),
        out_dropout=0.0,
        reconstruction=(0.5, 0.01, 0.5),
        mmd=100.0,
        memory=64,
        attention_dim=32,
        attention_dropout=0.7,
        gate_dims=(64, 32, 64),
        gate_dropouts=(0.0, 0.0, 0.5),
    ),
    optimizer=dict(learning_rate=2e-3, weight_decay=1e-3),
    train=dict(batch_size=64),
)
# ALR's Table IV has it on MELD and IEMOCAP, without settings: the values are those of CMU-MOSI,
# on the vectors of the pickles of conversations, each utterance by itself.
_UTTERANCES = dict(data=dict(variant="features"), train=dict(select="weighted_f1"))
_DEMO = dict(
    hidden_dims=(32, 16, 16),
    latent_dims=(32, 16, 16, 16),
    factor_dims=(32, 16, 16, 16),
    factor_dropouts=(0.2, 0.2, 0.2, 0.2),
    mmd=1.0,
    memory=32,
    attention_dropout=0.2,
    gate_dims=(32, 32, 32),
    gate_dropouts=(0.0, 0.2, 0.2),
)
DATASETS = {
    "mosi": _MOSI,
    "mosei": dict(
        data=dict(variant="aligned"),
        model=dict(
            hidden_dims=(256, 32, 256),
            latent_dims=(32, 256, 80, 80),
            factor_dims=(16, 32, 80, 32),
            factor_dropouts=(0.2, 0.7, 0.7, 0.7),
            out_dropout=0.2,
            reconstruction=(5.0, 2.0, 5.0),
            mmd=10.0,
            memory=64,
            attention_dim=1278,  # so in MMSA's file; perhaps 128 was meant
            attention_dropout=0.5,
            gate_dims=(32, 64, 128),
            gate_dropouts=(0.7, 0.5, 0.2),
        ),
        optimizer=dict(learning_rate=1e-3, weight_decay=5e-4),
        train=dict(batch_size=64),
    ),
    "sims": dict(
        model=dict(
            hidden_dims=(64, 16, 64),
            latent_dims=(48, 256, 32, 80),
            factor_dims=(48, 256, 80, 48),
            factor_dropouts=(0.5, 0.0, 0.7, 0.0),
            out_dropout=0.7,
            reconstruction=(0.5, 0.01, 0.01),
            mmd=200.0,
            memory=128,
            attention_dim=32,
            attention_dropout=0.5,
            gate_dims=(64, 64, 256),
            gate_dropouts=(0.5, 0.7, 0.0),
        ),
        optimizer=dict(learning_rate=2e-3, weight_decay=5e-3),
        train=dict(batch_size=128),
    ),
    "meld": recipe.merge(_MOSI, _UTTERANCES),
    "iemocap": recipe.merge(_MOSI, _UTTERANCES),
    "demo": recipe.demo(model=_DEMO),
    "dialogue_demo": recipe.dialogue_demo(model=_DEMO),
    "poria": recipe.poria(
        model=dict(
            hidden_dims=(64, 16, 16),
            latent_dims=(32, 32, 16, 16),
            factor_dims=(32, 32, 16, 16),
            mmd=1.0,
            memory=32,
            gate_dims=(32, 32, 32),
            gate_dropouts=(0.0, 0.2, 0.2),
        )
    ),
}

ROWS = recipe.FEATURES


def get_config(argument=""):
    values = recipe.values(argument, DATASETS, base=recipe.MMSA, rows=ROWS)
    return recipe.make("mfm", values)
