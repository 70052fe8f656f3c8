"""EF-LSTM: `configs/ef_lstm.py:DATASET`, hyperparameters of MMSA's config_regression.json @ a94e65d."""

from msajax.run import recipe

DATASETS = {
    "mosi": dict(
        data=dict(variant="aligned"),
        model=dict(hidden_dim=128, layers=4, dropout=0.5),
        optimizer=dict(learning_rate=1e-3, weight_decay=5e-3),
        train=dict(batch_size=32),
    ),
    "mosei": dict(
        data=dict(variant="aligned"),
        model=dict(hidden_dim=256, layers=2, dropout=0.4),
        optimizer=dict(learning_rate=5e-3, weight_decay=1e-4),
        train=dict(batch_size=128),
    ),
    "sims": dict(
        model=dict(hidden_dim=32, layers=3, dropout=0.5),
        optimizer=dict(learning_rate=5e-4, weight_decay=1e-3),
        train=dict(batch_size=128),
    ),
    "simsv2": dict(
        model=dict(hidden_dim=128, layers=3, dropout=0.2),
        optimizer=dict(learning_rate=5e-4),
        train=dict(batch_size=32),
    ),
    "demo": recipe.demo(model=dict(hidden_dim=64, layers=1)),
    "poria": recipe.poria(model=dict(hidden_dim=128, layers=1)),
}


def get_config(argument=""):
    values = recipe.values(argument, DATASETS, base=recipe.MMSA)
    return recipe.make("ef_lstm", values)
