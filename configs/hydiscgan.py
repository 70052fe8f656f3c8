"""HyDiscGAN: `configs/hydiscgan.py:DATASET[/ROW]`; all hyperparameters are ours, none of the paper's is known to us.

A cycle is an epoch of the discriminators, one of the generators, and one of all but the
discriminators on the sentiment. In the paper the two stages follow each other: so do runs of
the rows `stage_1` and `stage_2`, whose config.init_from names the first. The first stage leaves
the text encoder as it is.
"""

from msajax.run import recipe

_FIRST = dict(epochs=1, optimizer=dict(groups=()))  # which are of the text encoder
_DISCRIMINATORS = dict(
    name="discriminators",
    loss="discriminator_loss",
    train=r"discriminator/.*",
    **_FIRST,
)
_GENERATORS = dict(
    name="generators",
    loss="generator_loss",
    train=r"(generator|real|project).*",
    **_FIRST,
)
_MAIN = dict(name="main", train=r"(?!discriminator/).*")
_ALTERNATE = (_DISCRIMINATORS, _GENERATORS, dict(_MAIN, epochs=1))

BASE = recipe.merge(
    recipe.MMSA,
    dict(
        precision="auto",
        text=dict(encoder="bert-base-uncased"),
        model=dict(dim=64, steps=16, heads=4, alignment=0.1),
        optimizer=recipe.fine_tune(learning_rate=2e-5, head=1e-3),
        train=dict(batch_size=32),
        cycles=30,
        phases=_ALTERNATE,
    ),
)
_SMALL = dict(pooling="mean", dim=32, steps=8, hidden=64, out_dim=32)
DATASETS = {
    "mosi": {},
    "mosei": {},
    "demo": recipe.demo(model=_SMALL, cycles=30, phases=_ALTERNATE),
    "poria": recipe.poria(
        model=dict(_SMALL, steps=1, dropout=0.5), cycles=60, phases=_ALTERNATE
    ),
}

ROWS = {
    "no_contrast": dict(contrast=0.0),
    "no_noise": dict(noise=0.0),
    # The generators learn from their own epochs and from the sentiment.
    "no_alignment": dict(alignment=0.0),
    "stage_1": {
        "phases": (_DISCRIMINATORS, dict(_GENERATORS, select="last")),
        "train.patience": 0,
    },
    "stage_2": {
        "phases": (_MAIN,),
        "cycles": 1,
        "init_parameters": r"(discriminator|generator|real|project).*",
    },
}


def get_config(argument=""):
    values = recipe.values(argument, DATASETS, base=BASE, rows=ROWS)
    return recipe.make("hydiscgan", values)
