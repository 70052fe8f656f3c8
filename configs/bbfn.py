"""BBFN: `configs/bbfn.py:DATASET[/ROW]`, hyperparameters of declare-lab/BBFN @ 1a251bd, src/main.py and solver.py.

The layers of BERT up to the ninth are frozen, its embeddings are not, and all that is
trained has one learning rate.
"""

from msajax.run import recipe

_FROZEN = r"encoder/(encoder/)?layer/[0-8]/.*"  # XLNet has no inner "encoder"
_THEIRS = dict(
    data=dict(variant="aligned"),
    precision="auto",
    text=dict(encoder="bert-base-uncased"),
    model=dict(
        dim=40,
        heads=5,
        layers=5,
        projection="cnn",
        kernel_sizes=(3, 3, 3),
        attention_dropout=0.1,
        relu_dropout=0.1,
        residual_dropout=0.1,
        discrimination=0.1,
    ),
    optimizer=dict(
        learning_rate=5e-4,
        clip_norm=0.8,
        schedule="plateau",
        plateau_patience=20,
        plateau_factor=0.1,
        groups=((_FROZEN, None), (r".*", {})),
    ),
    train=dict(batch_size=24, epochs=40, patience=20),
)
DATASETS = {
    "mosi": {},
    "mosei": {},
    "demo": recipe.demo(model=dict(align=True, dim=32, heads=4, layers=2)),
    "poria": recipe.poria(model=dict(dim=64, heads=4, layers=2)),
}

# The authors' flags: without --use_disc, as the command of their README, and --proj_type.
ROWS = {
    "no_discriminator": dict(discrimination=0.0),
    "lstm": dict(projection="lstm"),
    "gru": dict(projection="gru"),
}


def get_config(argument=""):
    values = recipe.values(argument, DATASETS, base=_THEIRS, rows=ROWS)
    return recipe.make("bbfn", values)
