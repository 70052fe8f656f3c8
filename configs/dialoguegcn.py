"""DialogueGCN: `configs/dialoguegcn.py:DATASET[/ROW]`, hyperparameters of declare-lab/conv-emotion's train_IEMOCAP.py @ 6128ca2.

It reads text alone. There the best test epoch is reported; here the epoch is chosen on
validation, as everywhere. MELD has no public script: the values of IEMOCAP.
"""

from msajax.run import recipe

BASE = dict(
    model=dict(
        base="lstm",
        hidden=100,
        graph_dim=100,
        bases=30,
        window_past=10,
        window_future=10,
        dropout=0.5,
        recurrent_dropout=0.1,
    ),
    train=dict(epochs=60, patience=0, batch_size=32, select="weighted_f1"),
    optimizer=dict(name="adam", learning_rate=1e-4, weight_decay=1e-5),
)
DATASETS = {
    "iemocap": dict(data=dict(variant="features", modalities=("text",))),
    # Of the csv files the texts are read, by a frozen encoder. The pickles have features:
    # --config.text.encoder= --config.text.frozen=False
    "meld": dict(
        data=dict(modalities=("text",)),
        text=dict(encoder="bert-base-uncased", frozen=True, max_length=40),
    ),
    "dialogue_demo": recipe.dialogue_demo(
        model=dict(
            base="dialogue_rnn",  # which follows speakers
            hidden=16,
            global_dim=16,
            party_dim=16,
            graph_dim=16,
            bases=8,
            dropout=0.1,
        ),
        optimizer=dict(learning_rate=3e-3),
    ),
}

_IEMOCAP_WEIGHTS = (
    *(1 / 0.086747, 1 / 0.144406, 1 / 0.227883),
    *(1 / 0.160585, 1 / 0.127711, 1 / 0.252668),
)
ROWS = {
    "published": dict(edge_query="position", normalise="outgoing"),
    "lstm": dict(base="lstm"),
    "gru": dict(base="gru"),
    "dialogue_rnn": dict(base="dialogue_rnn"),
    "no_base": dict(base="none"),
    "no_nodal_attention": dict(nodal_attention=False),
    # The paper's ablation of the edges' relations.
    "no_speakers": dict(relations="time"),
    "no_order": dict(relations="speaker"),
    "class_weights": dict(class_weights=_IEMOCAP_WEIGHTS, datasets=("iemocap",)),
}


def get_config(argument=""):
    values = recipe.values(argument, DATASETS, base=BASE, rows=ROWS)
    return recipe.make("dialoguegcn", values)
