"""ConKI: `configs/conki.py:DATASET[/ROW]`; all hyperparameters are ours, none of the paper's is known to us.

The adapters learn from another data set first (the paper, as we read it: MOSEI for MOSI, and
CH-SIMS for MOSEI), in a run of the row `knowledge`; one of the row `injected` takes them
(config.init_from) with the backbones that they read. Neither depends on the widths of the
features. Without a row there is
no knowledge of other data.
"""

from msajax.run import recipe

BASE = recipe.merge(
    recipe.MMSA,
    dict(
        precision="auto",
        text=dict(encoder="bert-base-uncased"),
        model=dict(dim=64, layers=2, heads=4, contrast=0.1),
        optimizer=recipe.fine_tune(learning_rate=2e-5, head=1e-3),
        train=dict(batch_size=32),
    ),
)
_SMALL = dict(dim=32, layers=1, hidden=64, out_dim=32)
DATASETS = {
    "mosi": {},
    "mosei": {},
    "sims": dict(text=dict(encoder="bert-base-chinese", max_length=39)),
    "demo": recipe.demo(model=_SMALL),
    "poria": recipe.poria(model=dict(dropout=0.5, **_SMALL)),
}

ROWS = {
    "no_contrast": dict(contrast=0.0),
    # All but the output, on the data set that has the knowledge; then a run that takes it.
    "knowledge": {
        "phases": (
            dict(
                name="knowledge",
                loss="knowledge_loss",
                predict="knowledge",
                train=r"(?!out/).*",
            ),
        )
    },
    # The adapters, and the backbones that they learned to read.
    "injected": {"init_parameters": r"(adapter|backbone)_.*"},
}


def get_config(argument=""):
    values = recipe.values(argument, DATASETS, base=BASE, rows=ROWS)
    return recipe.make("conki", values)
