"""HCT-MG: `configs/hct_mg.py:DATASET[/ROW]`; all hyperparameters but the width are ours, none of the paper's is known to us."""

from msajax.run import recipe

BASE = recipe.merge(
    recipe.MMSA,
    dict(
        data=dict(variant="aligned"),
        model=dict(dim=40, kernel_size=3, heads=4, layers=2, gate="learned"),
        optimizer=dict(learning_rate=1e-3),
        train=dict(batch_size=32),
    ),
)
_SMALL = dict(dim=32, heads=4, layers=2, out_dim=32)
DATASETS = {
    "mosi": {},
    "mosei": {},
    "demo": recipe.demo(model=_SMALL),
    "poria": recipe.poria(model=dict(dropout=0.5, **_SMALL)),
}

# A gate for each row, and one that mixes the three orders.
ROWS = {
    "row_gate": dict(gate="row"),
    "soft_gate": dict(hard=False),
    **recipe.FEATURES,
}


def get_config(argument=""):
    values = recipe.values(argument, DATASETS, base=BASE, rows=ROWS)
    return recipe.make("hct_mg", values)
