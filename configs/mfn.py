"""MFN: `configs/mfn.py:DATASET[/ROW]`, hyperparameters of MMSA's config_regression.json @ a94e65d."""

from msajax.run import recipe

DATASETS = {
    "mosi": dict(
        data=dict(variant="aligned"),
        model=dict(
            hidden_dims=(256, 32, 256),
            memory=400,
            attention_dim=32,
            attention_dropout=0.2,
            gate_dims=(64, 256, 32),
            gate_dropouts=(0.0, 0.7, 0.5),
            out_dim=128,
            out_dropout=0.0,
        ),
        optimizer=dict(learning_rate=2e-3),
        train=dict(batch_size=128),
    ),
    "mosei": dict(
        data=dict(variant="aligned"),
        model=dict(
            hidden_dims=(128, 32, 128),
            memory=128,
            attention_dim=128,
            attention_dropout=0.2,
            gate_dims=(128, 256, 256),
            gate_dropouts=(0.5, 0.7, 0.0),
            out_dim=128,
            out_dropout=0.5,
        ),
        optimizer=dict(learning_rate=5e-4, weight_decay=1e-4),
        train=dict(batch_size=64),
    ),
    "sims": dict(
        model=dict(
            hidden_dims=(64, 16, 64),
            memory=64,
            attention_dim=128,
            attention_dropout=0.2,
            gate_dims=(128, 64, 64),
            gate_dropouts=(0.0, 0.2, 0.7),
            out_dim=64,
            out_dropout=0.7,
        ),
        optimizer=dict(learning_rate=1e-3),
        train=dict(batch_size=32),
    ),
    "simsv2": dict(
        model=dict(
            hidden_dims=(128, 16, 128),
            memory=400,
            attention_dim=32,
            attention_dropout=0.2,
            gate_dims=(128, 32, 32),
            gate_dropouts=(0.5, 0.5, 0.2),
            out_dim=64,
            out_dropout=0.2,
        ),
        optimizer=dict(learning_rate=1e-3),
        train=dict(batch_size=64),
    ),
    "demo": recipe.demo(
        model=dict(
            hidden_dims=(32, 16, 16),
            memory=32,
            gate_dims=(32, 32, 32),
            gate_dropouts=(0.0, 0.2, 0.2),
            out_dim=32,
        )
    ),
    "poria": recipe.poria(
        model=dict(
            hidden_dims=(64, 16, 16),
            memory=32,
            gate_dims=(32, 32, 32),
            gate_dropouts=(0.0, 0.2, 0.2),
            out_dim=64,
            out_dropout=0.5,
        )
    ),
}

ROWS = recipe.FEATURES


def get_config(argument=""):
    values = recipe.values(argument, DATASETS, base=recipe.MMSA, rows=ROWS)
    return recipe.make("mfn", values)
