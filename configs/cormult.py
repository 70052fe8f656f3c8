"""CorMulT: `configs/cormult.py:DATASET[/ROW]`, hyperparameters of YAMY1234/CorMulT @ 8791876.

They are MOSEI's, on the other data sets too. The authors' second phase also cuts
sequences at 100 steps, and perturbs validation data as `foreign` does training data; ours
does not.
"""

import re

from msajax.run import recipe

# Beside the sections of a recipe, `mce` and `fuse` are what the phases change of
# `train` and `optimizer`.
BASE = dict(
    data=dict(variant="unaligned"),
    model=dict(
        strategy="D",
        shift=(1, 1, 1),
        noise=0.1,
        distance="cosine",
        margin=0.2,
        mce_dim=128,
        mce_heads=4,
        mce_layers=3,
        mce_hidden=256,
        mce_dropout=0.1,
        mce_encoder="post_ln",
        mce_steps=0,
        mce_out=64,
        weighting="residual",
        foreign=0.3,
        levels=0,
        dim=30,
        heads=2,
        layers=2,
        kernel_sizes=(1, 1, 1),
        text_dropout=0.25,
        attention_dropouts=(0.1, 0.1, 0.1),
        relu_dropout=0.1,
        residual_dropout=0.1,
        embed_dropout=0.25,
        output_dropout=0.0,
    ),
    train=dict(patience=0),
    mce=dict(epochs=50, batch_size=24, optimizer=dict(learning_rate=2e-4)),
    fuse=dict(
        epochs=20,
        batch_size=48,
        optimizer=dict(
            learning_rate=3e-4,
            clip_norm=0.8,
            schedule="plateau",
            plateau_patience=10,
        ),
    ),
)
DATASETS = {
    "mosi": {},
    "mosei": {},
    "simsv2": {},
    "demo": recipe.demo(
        model=dict(  # loss, widths and dropout of MulT's, to be compared with it
            criterion="l1",
            mce_dim=32,
            mce_layers=2,
            mce_hidden=64,
            mce_steps=8,
            mce_out=32,
            dim=16,
            heads=2,
            layers=2,
            attention_dropouts=(0.1, 0.0, 0.0),
        ),
        mce=dict(epochs=100, patience=0, optimizer=dict(learning_rate=1e-3)),
        fuse=dict(optimizer=dict(learning_rate=1e-3)),
    ),
    "poria": recipe.poria(
        model=dict(mce_dim=32, mce_layers=2, mce_hidden=64, mce_out=32, causal=False),
        mce=dict(patience=0),
        fuse={},
    ),
}

_DISTANCES = ("euclidean", "manhattan", "chebyshev", "cosine", "mahalanobis")
# The paper's Tables 2, 3, 5 and 6. `phases` are those that a row trains.
ROWS = {
    # All that the paper says and the authors' code does otherwise, and its (t, o).
    "paper": {
        "text.vocabulary": True,  # section 3.2.1; strategy C then replaces a word
        "data.split": (0.7, 0.15, 0.15),  # section 4.1.1
        "mce_encoder": "paper",
        "mce_steps": 64,
        "mce_out": 200,
        "weighting": "multiply",
        "residual_head": False,
        "levels": 7,
        "shift": (1, 20, 0),  # a word; a second of audio, whose rate no dataset gives
        "foreign": 0.0,
    },
    **{f"strategy_{s.lower()}": dict(strategy=s) for s in "ABCD"},
    **{name: dict(distance=name) for name in _DISTANCES},
    # Table 5: prepared stores of that name (and data set), whatever their widths.
    **{f"features_{v}": {"data.variant": v} for v in ("none", "mel", "res", "full")},
    # Table 6 does not explain "comb": here, no pretrained coefficients.
    "pre_comb": dict(correlated=(), phases=("fuse",)),
    "pre_at": dict(correlated=("text", "audio")),
    "pre_vt": dict(correlated=("text", "vision")),
    "pre_vat": {},
    # A single phase: the evaluator, and the rest on that of another run (config.init_from).
    "mce": dict(phases=("mce",)),
    "fuse": dict(phases=("fuse",), init_parameters=r"(statistics/)?mce/.*"),
}
_PHASES = dict(
    mce=dict(loss="mce_loss", predict="mce_pred", select="loss", train=r"mce/.*"),
    fuse=dict(train=r"mult/.*"),
)


def _grid(row):
    """The map to the shared space of a row t<t>_o<o>: a place in the paper's (t, o) grid."""
    found = re.fullmatch(r"t([1-9]\d*)_o([1-9]\d*)", row)
    return dict(mce_steps=int(found[1]), mce_out=int(found[2])) if found else None


def get_config(argument=""):
    also = ", or t<t>_o<o>, as t64_o200"
    values = recipe.values(
        argument, DATASETS, base=BASE, rows=ROWS, numbered=_grid, also=also
    )
    phases = {k: dict(name=k, **_PHASES[k], **values.pop(k)) for k in _PHASES}
    chosen = values.get("phases", phases)
    values["phases"] = tuple(phases[name] for name in chosen)
    return recipe.make("cormult", values)
