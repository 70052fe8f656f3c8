"""MMLatch: `configs/mmlatch.py:DATASET[/ROW]`, hyperparameters of georgepar/mmlatch @ 2d9bfc9.

They are in its config.yaml, and in run.py those of the schedule, which there also waits two
epochs after each cut of the learning rate and ends at a twentieth of it. The authors read
GloVe vectors of 300 numbers, MMSA's file has BERT's features.
"""

from msajax.run import recipe

DATASETS = {
    "mosei": dict(
        data=dict(variant="aligned"),
        model=dict(
            dim=100,
            feedback="sequence",
            dropout=0.2,
            fusion_dropout=0.1,
            feedback_dropout=0.1,
            mask_dropout=0.2,
        ),
        optimizer=dict(
            learning_rate=5e-4,
            schedule="plateau",
            plateau_factor=0.5,
            plateau_patience=2,
        ),
        train=dict(batch_size=32, epochs=100, patience=10),
    ),
    "demo": recipe.demo(model=dict(align=True, dim=32)),
    "poria": recipe.poria(model=dict(dim=64)),
}

# The authors' flags feedback_type and feedback.
ROWS = {"static": dict(feedback="static"), "no_feedback": dict(feedback="off")}


def get_config(argument=""):
    values = recipe.values(argument, DATASETS, base={}, rows=ROWS)
    return recipe.make("mmlatch", values)
