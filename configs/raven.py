"""RAVEN: `configs/raven.py:DATASET[/ROW]`, hyperparameters of victorywys/RAVEN @ c276657.

The paper has CMU-MOSI and IEMOCAP, with GloVe's vectors and the frames of audio and vision
inside each word; MMSA's aligned files have BERT's features and the mean of these frames.
The rows `frames` read the unaligned files, and pool audio and vision to some frames a word.
"""

from msajax.run import recipe

BASE = dict(
    model=dict(dim=150, cell=150, hidden=300, beta=0.2, dropout=0.2),
    optimizer=dict(learning_rate=1e-3),
    train=dict(batch_size=20, epochs=500, patience=20),  # patience: ours
)
_SMALL = dict(dim=16, cell=16)
DATASETS = {
    "mosi": dict(data=dict(variant="aligned")),
    # The paper has no MOSEI; papers that compare with it do.
    "mosei": dict(data=dict(variant="aligned"), train=dict(epochs=50, patience=8)),
    # One emotion at a time in the paper, present or not; here one of four.
    "iemocap4": dict(train=dict(select="accuracy")),
    "demo": recipe.demo(
        model=dict(hidden=32, **_SMALL), optimizer=dict(learning_rate=2e-3)
    ),
    "poria": recipe.poria(model=dict(hidden=64, **_SMALL)),
}

_MMSA = ("mosi", "mosei")
ROWS = {
    # As the published code, which cuts the gradient of all but the LSTM over words.
    "published": dict(
        gate="linear", limit="shift", position_norm=True, connected=False
    ),
    "connected": dict(gate="linear", limit="shift", position_norm=True),
    # 20 frames a second, as the authors': about 6 in a word.
    "frames": {"frames": 6, "data.variant": "unaligned", "datasets": _MMSA},
}


def get_config(argument=""):
    values = recipe.values(argument, DATASETS, base=BASE, rows=ROWS)
    return recipe.make("raven", values)
