"""MulT: `configs/mult.py:DATASET`, hyperparameters of MMSA's config_regression.json @ a94e65d.

MMSA sums the gradients of 8 batches, ours are averaged: / 8 keeps the relation of the
weight decay and of the largest gradient to them.
"""

from msajax.run import recipe

DATASETS = {
    "mosi": dict(
        model=dict(
            dim=50,
            heads=10,
            layers=4,
            kernel_sizes=(5, 5, 5),
            text_dropout=0.5,
            attention_dropouts=(0.3, 0.2, 0.0),
            relu_dropout=0.0,
            residual_dropout=0.0,
            embed_dropout=0.2,
            output_dropout=0.5,
        ),
        optimizer=dict(
            learning_rate=2e-3,
            weight_decay=5e-3 / 8,
            clip_value=0.6 / 8,
            plateau_patience=5,
        ),
        train=dict(batch_size=16),
    ),
    "mosei": dict(
        model=dict(
            dim=30,
            heads=6,
            layers=4,
            kernel_sizes=(5, 1, 3),
            text_dropout=0.3,
            attention_dropouts=(0.4, 0.0, 0.0),
            relu_dropout=0.0,
            residual_dropout=0.0,
            embed_dropout=0.0,
            output_dropout=0.5,
        ),
        optimizer=dict(
            learning_rate=5e-4,
            weight_decay=1e-3 / 8,
            clip_value=0.6 / 8,
            plateau_patience=20,
        ),
        train=dict(batch_size=4),
    ),
    "sims": dict(
        model=dict(
            dim=50,
            heads=10,
            layers=2,
            kernel_sizes=(5, 1, 1),
            text_dropout=0.3,
            attention_dropouts=(0.2, 0.1, 0.0),
            relu_dropout=0.0,
            residual_dropout=0.2,
            embed_dropout=0.1,
            output_dropout=0.1,
        ),
        optimizer=dict(
            learning_rate=2e-3,
            weight_decay=1e-3 / 8,
            clip_value=0.6 / 8,
            plateau_patience=10,
        ),
        train=dict(batch_size=16),
    ),
    "simsv2": dict(
        model=dict(
            dim=30,
            heads=6,
            layers=4,
            kernel_sizes=(5, 3, 1),
            text_dropout=0.5,
            attention_dropouts=(0.1, 0.2, 0.0),
            relu_dropout=0.1,
            residual_dropout=0.0,
            embed_dropout=0.2,
            output_dropout=0.3,
        ),
        optimizer=dict(
            learning_rate=5e-4,
            weight_decay=5e-3 / 8,
            clip_value=1.0 / 8,
            plateau_patience=10,
        ),
        train=dict(batch_size=16),
    ),
    # The paper's Table 5, on its authors' file. There each emotion has outputs of its own, for
    # present or not; here one of the four is predicted, as the labels are, and the figures of
    # each emotion are made of that.
    "iemocap4": dict(
        data=dict(variant=""),
        model=dict(
            dim=40,
            heads=10,
            layers=4,
            kernel_sizes=(3, 5, 3),
            text_dropout=0.3,
            attention_dropouts=(0.25, 0.25, 0.25),
            relu_dropout=0.1,  # this one and the next: the code's
            residual_dropout=0.1,
            embed_dropout=0.3,  # the text's, as in the code
            output_dropout=0.1,
        ),
        optimizer=dict(
            learning_rate=2e-3,
            weight_decay=0.0,
            clip_norm=0.8,
            plateau_patience=20,
        ),
        train=dict(
            batch_size=32, accumulate=1, epochs=30, patience=0, select="accuracy"
        ),
    ),
    "demo": recipe.demo(model=dict(dim=16, heads=2, layers=2)),
    "poria": recipe.poria(model=dict(layers=2, causal=False)),
}

# Features of a frozen encoder instead of the file's, as in MSG/MBA's Tables I and II.
ROWS = recipe.FEATURES


def get_config(argument=""):
    ours = dict(train=dict(accumulate=8), optimizer=dict(schedule="plateau"))
    base = recipe.merge(recipe.MMSA, ours)
    return recipe.make("mult", recipe.values(argument, DATASETS, base=base, rows=ROWS))
