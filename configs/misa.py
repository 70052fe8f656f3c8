"""MISA: `configs/misa.py:DATASET[/ROW]`, hyperparameters of MMSA's config_regression.json @ a94e65d.

MMSA sums the gradients of 2 batches, ours are averaged: / 2 keeps the relation of the
largest gradient to them. MMSA lists weight decays, but does not pass them to its optimizer.
"""

from msajax.run import recipe

_OURS = dict(
    precision="auto",
    text=dict(encoder="bert-base-uncased"),
    train=dict(accumulate=2),
    optimizer=dict(learning_rate=1e-4),
)
BASE = recipe.merge(recipe.MMSA, _OURS)
DATASETS = {
    "mosi": dict(
        model=dict(
            dim=128, dropout=0.2, similarity=0.3, difference=0.1, reconstruction=1.0
        ),
        optimizer=dict(clip_value=0.8 / 2),
        train=dict(batch_size=16),
    ),
    "mosei": dict(
        model=dict(
            dim=128, dropout=0.5, similarity=0.8, difference=0.3, reconstruction=1.0
        ),
        optimizer=dict(clip_value=0.8 / 2),
        train=dict(batch_size=64),
    ),
    "sims": dict(
        text=dict(encoder="bert-base-chinese", max_length=39),
        model=dict(
            dim=128, dropout=0.0, similarity=1.0, difference=0.3, reconstruction=0.8
        ),
        optimizer=dict(clip_value=1.0 / 2),
        train=dict(batch_size=64),
    ),
    "simsv2": dict(
        text=dict(encoder="bert-base-chinese"),
        model=dict(
            dim=64, dropout=0.5, similarity=1.0, difference=0.5, reconstruction=0.5
        ),
        optimizer=dict(clip_value=0.8 / 2),
        train=dict(batch_size=16),
    ),
    "demo": recipe.demo(model=dict(dim=32, hidden=64)),
    "poria": recipe.poria(model=dict(dim=64, hidden=128, dropout=0.5)),
}

# The paper's ablation; and a frozen encoder, as in MSG/MBA's Tables I and II.
ROWS = {
    **recipe.FEATURES,
    "no_similarity": dict(similarity=0.0),
    "no_difference": dict(difference=0.0),
    "no_reconstruction": dict(reconstruction=0.0),
    "no_text": dict(modalities=("audio", "vision"), text={}),
    "no_audio": dict(modalities=("text", "vision")),
    "no_vision": dict(modalities=("text", "audio")),
}


def get_config(argument=""):
    values = recipe.values(argument, DATASETS, base=BASE, rows=ROWS)
    return recipe.make("misa", values)
