"""MM-DFN: `configs/mm_dfn.py:DATASET[/ROW]`, hyperparameters of zerohd4869/MM-DFN's scripts @ da97036.

Its scripts search grids; here are their first values. There the epoch is chosen on the test
split; here on validation, as everywhere.
"""

from msajax.run import recipe

BASE = dict(
    model=dict(hidden=100, graph_dim=100, alpha=0.2, lamda=0.5, gamma=0.5),
    train=dict(epochs=30, patience=5, batch_size=32, select="weighted_f1"),
)
DATASETS = {
    "iemocap": dict(
        data=dict(variant="features"),
        model=dict(
            layers=16,  # or 32
            dropout=0.2,  # or 0.4
            speaker_weights=(1.0, 3.0, 0.0),
            # One over the share of each class.
            class_weights=(
                *(1 / 0.086747, 1 / 0.144406, 1 / 0.227883),
                *(1 / 0.160585, 1 / 0.127711, 1 / 0.252668),
            ),
        ),
        # Rates 1e-4 and 3e-4, decays 1e-4 and 2e-4.
        optimizer=dict(name="adam", learning_rate=1e-4, weight_decay=1e-4),
    ),
    "meld": dict(
        data=dict(variant="features"),
        model=dict(
            layers=64,  # or 32, 16
            dropout=0.4,  # or 0.2
            speaker_weights=(1.5, 0.5, 0.5),
        ),
        # Rates 5e-4 and 1e-3, decays 1e-4 and 5e-4.
        optimizer=dict(name="adam", learning_rate=5e-4, weight_decay=1e-4),
    ),
    "dialogue_demo": recipe.dialogue_demo(
        model=dict(hidden=16, graph_dim=16, layers=4, dropout=0.1),
        optimizer=dict(learning_rate=3e-3),
    ),
}

ROWS = {
    "no_reason": dict(reason=False),
    "no_speakers": dict(speaker_weights=(0.0, 0.0, 0.0)),
    "speaker_embedding": dict(embed_speaker=True),
    "modality_embedding": dict(embed_modality=True),
    "recurrent_all": dict(recurrent_all=True),
    "cross_entropy": dict(focal=False),
    "text_audio": dict(modalities=("text", "audio")),
    "text_vision": dict(modalities=("text", "vision")),
    "audio_vision": dict(modalities=("audio", "vision")),
}


def get_config(argument=""):
    values = recipe.values(argument, DATASETS, base=BASE, rows=ROWS)
    return recipe.make("mm_dfn", values)
