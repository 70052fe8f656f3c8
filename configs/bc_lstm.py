"""bc-LSTM: `configs/bc_lstm.py:DATASET`, hyperparameters of declare-lab/conv-emotion's train_IEMOCAP.py and train_MELD.py @6128ca2.

There the epoch is chosen on the test split of MELD; here on validation, as everywhere.
"""

from msajax.run import recipe

_OPTIMIZER = dict(name="adam", learning_rate=1e-4, weight_decay=1e-5)
BASE = dict(
    train=dict(epochs=60, patience=0, batch_size=32, select="weighted_f1"),
    optimizer=_OPTIMIZER,
)
DATASETS = {
    "iemocap": dict(data=dict(variant="features", modalities=("text",))),
    # Of the csv files the texts are read, by a frozen encoder. The pickles have features:
    # --config.text.encoder= --config.text.frozen=False
    "meld": dict(
        data=dict(modalities=("text",)),
        text=dict(encoder="bert-base-uncased", frozen=True, max_length=40),
    ),
    "dialogue_demo": recipe.dialogue_demo(),
}


def get_config(argument=""):
    return recipe.make("bc_lstm", recipe.values(argument, DATASETS, base=BASE))
