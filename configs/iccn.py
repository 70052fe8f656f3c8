"""ICCN: `configs/iccn.py:DATASET[/ROW]`; all hyperparameters are ours, none of the paper's is known to us.

DCCA needs batches of many more rows than a view is wide: 256 and 50. The text's vector is
BERT's [CLS] of MMSA's files, which stays as it is; the row `fine_tune` trains BERT.
"""

from msajax.run import recipe

BASE = recipe.merge(
    recipe.MMSA,
    dict(
        model=dict(text_dim=64, dim=32, view_dim=50, canonical=10, cca_weight=0.1),
        optimizer=dict(learning_rate=1e-3),
        train=dict(batch_size=256),
    ),
)
_SMALL = dict(
    **dict(pooling="mean", text_dim=16, dim=16, channels=(8, 16)),
    **dict(view_dim=16, canonical=8, out_dim=32),
)
DATASETS = {
    "mosi": {},
    "mosei": {},
    "demo": recipe.demo(
        model=_SMALL, optimizer=dict(learning_rate=2e-3), train=dict(batch_size=64)
    ),
    "poria": recipe.poria(model=_SMALL, train=dict(batch_size=128)),
}

ROWS = {
    "no_correlation": dict(cca_weight=0.0),
    # DCCA first, then the output alone.
    "two_phases": {
        "phases": (
            dict(name="cca", loss="cca_loss", train=r"(?!out/).*", epochs=25),
            dict(name="fuse", loss="output_loss", train=r"out/.*"),
        )
    },
    "fine_tune": {
        "precision": "auto",
        "text": dict(encoder="bert-base-uncased"),
        "optimizer": recipe.fine_tune(learning_rate=2e-5, head=1e-3),
        "train.batch_size": 64,
        "view_dim": 16,
        "datasets": ("mosi", "mosei"),
    },
}


def get_config(argument=""):
    values = recipe.values(argument, DATASETS, base=BASE, rows=ROWS)
    return recipe.make("iccn", values)
