"""CM-BERT: `configs/cm_bert.py:DATASET[/ROW]`, hyperparameters of thuiar/Cross-Modal-BERT @ 3e44dce.

The authors' script has CMU-MOSI, with five features of COVAREP for each word piece, as
MMSA's aligned file has. Its optimizer is BERT's own: no bias correction, and the gradient
of each parameter is clipped by its own norm; ours is AdamW, and the norm is the global one.
Weights of the attention have a rate of their own there; the last layer, which is never
trained there, has the same here. There is no recipe for Poria's vectors: the only step of a
sequence attends to itself, whatever the audio is.
"""

from msajax.run import recipe

_NO_DECAY = dict(weight_decay=0.0)
_FROZEN = (r"encoder/embeddings/.*", None)
_BERT = (
    (r"encoder/.*(bias|Norm/scale)", _NO_DECAY),
    (r"encoder/.*", {}),
    (r"attention/.*bias", _NO_DECAY),
)
_HEAD = dict(learning_rate=0.01)

DATASETS = {
    "mosi": dict(
        data=dict(variant="aligned", modalities=("text", "audio")),
        precision="auto",
        text=dict(encoder="bert-base-uncased", max_length=50),
        model=dict(dim=30, attention_dropout=0.3, dropout=0.1),
        train=dict(batch_size=24, epochs=3, patience=0),
        optimizer=dict(
            name="adamw",
            learning_rate=2e-5,
            weight_decay=0.01,
            clip_norm=1.0,
            schedule="warmup_linear",
            warmup=0.1,
            groups=(_FROZEN, *_BERT, (r".*", _HEAD)),
        ),
    ),
    # Its text has no [CLS].
    "demo": recipe.demo(model=dict(align=True, pooling="mean", dim=16)),
}
ROWS = {
    # A fault of the authors' code: the last layer stays as it was drawn.
    "frozen_classifier": {
        "optimizer.groups": (_FROZEN, *_BERT, (r"head/.*", None), (r".*", _HEAD))
    },
}


def get_config(argument=""):
    values = recipe.values(argument, DATASETS, base={}, rows=ROWS)
    return recipe.make("cm_bert", values)
