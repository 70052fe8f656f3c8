"""COSMIC: `configs/cosmic.py:DATASET[/ROW]`, defaults of declare-lab/conv-emotion's train_iemocap.py and train_meld.py @ 6128ca2.

It reads `iemocap_features_roberta.pkl` or `meld_features_roberta.pkl`, and COMET's file of the
same name beside it. There the test score of the best validation F1 and that of the best
validation loss are reported; here the first.
"""

from msajax.run import recipe

_OPTIMIZER = dict(name="adam", learning_rate=1e-4, weight_decay=3e-4)
DATASETS = {
    "iemocap": dict(
        data=dict(variant="roberta", modalities=("text",)),
        model=dict(
            norm="batch",
            combine="mean",
            context_attention="general2",
            attention=True,
            recurrent_dropout=0.1,
            dropout=0.25,
        ),
        train=dict(epochs=60, patience=0, batch_size=16, select="weighted_f1"),
        optimizer=_OPTIMIZER,
    ),
    "meld": dict(
        data=dict(variant="roberta", modalities=("text",)),
        model=dict(
            norm="none",
            combine="mean",
            context_attention="simple",
            attention=False,
            recurrent_dropout=0.5,
            dropout=0.5,
        ),
        train=dict(epochs=40, patience=0, batch_size=8, select="weighted_f1"),
        optimizer=_OPTIMIZER,
    ),
    # It has neither RoBERTa's layers nor common sense.
    "dialogue_demo": recipe.dialogue_demo(
        data=dict(modalities=("text",)),
        model=dict(
            norm="none",
            combine="single",
            commonsense=False,
            hidden=32,
            global_dim=32,
            party_dim=32,
            reaction_dim=32,
            intent_dim=32,
            recurrent_dropout=0.0,
            dropout=0.1,
        ),
        optimizer=dict(learning_rate=5e-3),
    ),
}

_PAPER = ("iemocap", "meld")
ROWS = {
    "listener": dict(listener=True),
    "residual": dict(residual=True),
    # The command of its README for MELD, whose option of the dropout is misspelled there.
    "published": {
        **dict(listener=True, recurrent_dropout=0.3, datasets=("meld",)),
        **{"optimizer.weight_decay": 3e-5, "train.epochs": 60},
    },
    "no_commonsense": dict(commonsense=False, datasets=_PAPER),
    # For other features of the text, and those of a frozen encoder.
    "single": dict(combine="single", commonsense=False, datasets=_PAPER),
    "concat": dict(combine="concat", datasets=_PAPER),
    "weighted": dict(combine="weighted", datasets=_PAPER),
}


def get_config(argument=""):
    values = recipe.values(argument, DATASETS, base={}, rows=ROWS)
    return recipe.make("cosmic", values)
