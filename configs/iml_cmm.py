"""IML-CMM: `configs/iml_cmm.py:DATASET[/ROW]`, hyperparameters of the paper's section 4.

Zhang, Yang and Zhang; where the paper gives no value, a comment says "open". It has no
results on MOSI and MOSEI, which have no labels of single modalities. There the losses on
those labels are left out: the rows of Table 5 and `no_ufa` do not differ, drawn weights
differ in M's alone, and mixed rows also reach the fusion and M's prediction.
"""

import random
import re

from msajax.run import recipe

BASE = dict(
    data=dict(variant="unaligned"),
    precision="auto",
    text=dict(encoder="bert-base-uncased", max_length=50),
    model=dict(
        dim=128,
        tokens=8,  # open: ALMT's, like the Transformers' heads and widths
        heads=8,
        head_dim=64,
        mlp_dim=128,
        ffn="relu",  # equation 7; "gelu": ALMT's
        embedding_layers=1,
        ahl_layers=3,
        fusion_layers=4,  # open: ALMT's on CH-SIMS
        attention_dim=128,  # open
        kan=True,
        grid_size=5,  # open: efficient-kan's, like the order
        order=3,
        grid_range=(-1.0, 1.0),
        weights=(1.0, 0.2, 0.8, 0.4),  # M, T, A, V; open: AV-MC's
        mixed=("audio", "vision"),
        mix_at="features",
        alpha=1.0,  # open: AV-MC's
        mix_labels="blend",  # "mixture": AV-MC's
        mix_terms="own",  # equations 23 and 24; "all": AV-MC's
        mix_weights=(1.0, 1.0),  # open
        activation=0.0,  # open: lambda_act
        entropy=0.0,  # open: lambda_ent
    ),
    # 100 epochs and a single rate are the paper's. Open: batch, patience and optimizer.
    train=dict(batch_size=32, epochs=100, patience=16),
    optimizer=dict(name="adam", learning_rate=1e-5, encoder_rate=1e-5),
)


def _small(dim, **changes):
    small = dict(tokens=4, head_dim=16, fusion_layers=2)
    return small | dict(dim=dim, mlp_dim=dim, attention_dim=dim) | changes


DATASETS = {
    "simsv2": dict(text=dict(encoder="bert-base-chinese")),
    "mosi": {},  # MOSI and MOSEI: as on CH-SIMS v2
    "mosei": {},
    "demo": recipe.demo(
        model=_small(
            32, heads=2, weights=(1.0, 0.2, 0.8, 0.4), mixed=("audio", "vision")
        )
    ),
    "poria": recipe.poria(
        model=_small(64, heads=4, weights=(1.0, 0.0, 0.0, 0.0)),
        # Of 1e-3, 3e-4 and 1e-4 the best by validation loss.
        optimizer=dict(learning_rate=1e-4),
    ),
}

# The paper's Tables 4 and 5. Letters stand for the weights that are left, see `_rows`.
ROWS = {
    "no_kan": dict(kan=False),
    "no_ufa": dict(weights="M"),
    "no_mixup_a": dict(mixed=("vision",)),
    "no_mixup_v": dict(mixed=("audio",)),
    "no_ahl": dict(ahl_layers=0),
    **{w.lower(): dict(weights=w) for w in "M MV MT MA MTA MAV MTV".split()},
    "mtav": {},
    # For data with rows without labels.
    "semi": {"mix_at": "tokens", "data.unlabelled": "train_mix"},
    # At first on CH-SIMS v2 about 0.09 of L1 and 0.05 of entropy; the task's loss is 0.7.
    "kan_regularized": dict(activation=1e-4, entropy=1e-3),
}


def _rows(values):
    """The rows, with 0 for the weights of the data set that a row's letters lack."""
    pairs = list(zip("MTAV", values["model"]["weights"], strict=True))
    letters = {row: c["weights"] for row, c in ROWS.items() if "weights" in c}
    return ROWS | {
        row: dict(weights=tuple(w if m in left else 0.0 for m, w in pairs))
        for row, left in letters.items()
    }


def _draw(row):
    """Weights drawn by the number n of a row weights_<n>: the search of section 5.3."""
    if found := re.fullmatch(r"weights_(\d+)", row):
        generator = random.Random(int(found[1]))
        drawn = (0.2, 0.4, 0.6, 0.8, 1.0)
        return dict(weights=tuple(generator.choice(drawn) for _ in "MTAV"))
    return None


def get_config(argument=""):
    values = recipe.values(
        argument, DATASETS, base=BASE, rows=_rows, numbered=_draw, also=", weights_<n>"
    )
    return recipe.make("iml_cmm", values)
