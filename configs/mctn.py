"""MCTN: `configs/mctn.py:DATASET`, hyperparameters of MMSA's config_regression.json @ a94e65d.

MMSA has CMU-MOSI alone. The weights of the losses are those of MMSA's code, and of the
authors' hierarchical_mctn.yaml (hainow/MCTN), which has the same width and learning rate.
"""

from msajax.run import recipe

DATASETS = {
    "mosi": dict(
        data=dict(variant="aligned"),
        model=dict(hidden=32, weights=(0.1, 0.1, 0.1)),
        optimizer=dict(learning_rate=1e-4, clip_norm=1.0),
        train=dict(batch_size=32),
    ),
    "demo": recipe.demo(),
    "poria": recipe.poria(),
}


def get_config(argument=""):
    values = recipe.values(argument, DATASETS, base=recipe.MMSA)
    return recipe.make("mctn", values)
