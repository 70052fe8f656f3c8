"""DialogueRNN: `configs/dialogue_rnn.py:DATASET[/ROW]`, hyperparameters of declare-lab/conv-emotion's train_IEMOCAP.py and train_MELD.py @ 6128ca2.

There the epoch is chosen on the test split of MELD; here on validation, as everywhere.
"""

from msajax.run import recipe

BASE = dict(
    model=dict(context_attention="general", dropout=0.1, recurrent_dropout=0.1),
    train=dict(epochs=60, patience=0, batch_size=30, select="weighted_f1"),
)
_MELD = dict(global_dim=150, party_dim=150, hidden=100, post_dim=200)
DATASETS = {
    "iemocap": dict(
        data=dict(variant="features", modalities=("text",)),
        model=dict(
            global_dim=500,
            party_dim=500,
            hidden=300,
            post_dim=600,
            # One over the share of each class.
            class_weights=(
                *(1 / 0.086747, 1 / 0.144406, 1 / 0.227883),
                *(1 / 0.160585, 1 / 0.127711, 1 / 0.252668),
            ),
        ),
        optimizer=dict(name="adam", learning_rate=1e-4, weight_decay=1e-5),
    ),
    # Of the csv files the texts are read, by a frozen encoder. The pickles have features:
    # --config.text.encoder= --config.text.frozen=False
    "meld": dict(
        data=dict(modalities=("text",)),
        text=dict(encoder="bert-base-uncased", frozen=True, max_length=40),
        model=_MELD,
        optimizer=dict(name="adam", learning_rate=5e-4, weight_decay=1e-5),
    ),
    "dialogue_demo": recipe.dialogue_demo(
        model=dict(global_dim=16, party_dim=16, hidden=16, post_dim=16),
        optimizer=dict(learning_rate=3e-3),
    ),
}

ROWS = {
    "listener": dict(listener=True),
    "no_attention": dict(attention=False),
    "simple": dict(context_attention="simple"),
    "concat": dict(context_attention="concat"),
    "general2": dict(context_attention="general2"),
}


def get_config(argument=""):
    values = recipe.values(argument, DATASETS, base=BASE, rows=ROWS)
    return recipe.make("dialogue_rnn", values)
