"""AMML: `configs/amml.py:DATASET[/ROW]`; all hyperparameters are ours, none of the paper's is known to us.

The text is BERT's features of MMSA's files: an inner step through BERT would cost too much.
"""

from msajax.run import recipe

BASE = recipe.merge(
    recipe.MMSA,
    dict(
        model=dict(hidden=64, dim=64, out_dim=64, dropout=0.1, inner_rate=0.01),
        optimizer=dict(learning_rate=1e-3),
        train=dict(batch_size=64),
    ),
)
_SMALL = dict(hidden=32, dim=32, out_dim=32)
DATASETS = {
    "mosi": {},
    "mosei": {},
    "demo": recipe.demo(model=_SMALL),
    "poria": recipe.poria(model=dict(dropout=0.5, **_SMALL)),
}

ROWS = {
    "first_order": dict(first_order=True),
    "no_divergence": dict(divergence=0.0),
    # Rates of 0, near enough.
    "no_adaptation": dict(inner_rate=1e-12),
    **recipe.FEATURES,
}


def get_config(argument=""):
    values = recipe.values(argument, DATASETS, base=BASE, rows=ROWS)
    return recipe.make("amml", values)
