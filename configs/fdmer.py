"""FDMER: `configs/fdmer.py:DATASET[/ROW]`; all hyperparameters are ours, none of the paper's is known to us."""

from msajax.run import recipe

BASE = recipe.merge(
    recipe.MMSA,
    dict(
        precision="auto",
        text=dict(encoder="bert-base-uncased"),
        model=dict(dim=128, hidden=128, heads=4, dropout=0.1),
        optimizer=recipe.fine_tune(learning_rate=2e-5, head=1e-3),
        train=dict(batch_size=32),
    ),
)
_SMALL = dict(dim=32, hidden=32, heads=4)
DATASETS = {
    "mosi": {},
    "mosei": {},
    "demo": recipe.demo(model=_SMALL),
    "poria": recipe.poria(model=dict(dropout=0.5, **_SMALL)),
}

# The three losses one by one, and their other forms.
ROWS = {
    "no_adversarial": dict(adversarial=0.0),
    "no_consistency": dict(consistency=0.0),
    "no_disparity": dict(disparity=0.0),
    "cosine": dict(consistency_form="cosine"),
    "hsic": dict(disparity_form="hsic"),
}


def get_config(argument=""):
    values = recipe.values(argument, DATASETS, base=BASE, rows=ROWS)
    return recipe.make("fdmer", values)
