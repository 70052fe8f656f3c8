"""UniMSE: `configs/unimse.py:DATASET[/ROW]`, hyperparameters of LeMei/UniMSE @ a9fbb4f.

The paper's four data sets train together: those of `data.also` lend their training rows and
labels, each run is measured on its own. Name their files, or drop those that you lack:

    --config.data.also=mosei=unaligned_50.pkl,meld=MELD

Of T5 the last two blocks of encoder and decoder are trained, the rest is frozen, as there.
The text begins with the name of a task that T5 was trained on, and holds the two utterances on
either side of each one. Their script evaluates every
epoch on test; here validation chooses it.
"""

from msajax.run import recipe

_RULE = dict(name="adam", learning_rate=1e-4, weight_decay=1e-4)
_T5 = dict(learning_rate=3e-4)
_BLOCKS = r"encoder/(encoder|decoder)/layer/1[01]/"
BASE = dict(
    precision="auto",
    text=dict(
        encoder="t5-base",
        max_length=128,
        prefix="sst2 sentence: ",
        context_mark="never",
    ),
    model=dict(
        adapter_layers=3,
        adapter_dim=64,
        hidden=32,
        dim=32,
        dropout=0.3,
        contrast=0.5,
        temperature=0.1,
        scan=True,
    ),
    optimizer=dict(
        **_RULE,
        groups=(
            (rf"{_BLOCKS}.*layer_norm/scale", dict(**_T5, weight_decay=0.0)),
            (rf"{_BLOCKS}.*", _T5),
            (r"encoder/.*", None),
            (r".*", {}),
        ),
    ),
    train=dict(batch_size=32, epochs=20, patience=0),
)
_ALSO = {
    "mosi": "mosi=mosi/unaligned",
    "mosei": "mosei=mosei/unaligned",
    "meld": "meld",
    "iemocap": "iemocap",
}


def _with_others(name, **changes):
    """A data set with the three others; four utterances around each."""
    also = tuple(entry for other, entry in _ALSO.items() if other != name)
    text = dict(context=2, context_behind=2)
    return recipe.merge(dict(data=dict(also=also), text=text), changes)


_MMSA = dict(data=dict(variant="unaligned"), train=dict(select="mae"))
_CLASSES = dict(train=dict(select="weighted_f1"))
# It needs a T5: --config.text.encoder=NAME. All of it is trained, as it may be small.
_SMALL = dict(
    model=dict(adapter_dim=32),
    optimizer=recipe.fine_tune(learning_rate=1e-3, head=1e-3),
    train=dict(epochs=30, select="mae"),
)
DATASETS = {
    "mosi": _with_others("mosi", **_MMSA),
    "mosei": _with_others("mosei", **_MMSA),
    "meld": _with_others("meld", **_CLASSES),
    "iemocap": _with_others("iemocap", **_CLASSES),
    "demo": recipe.demo(**_SMALL),
    "poria": recipe.poria(**_SMALL),
}

_OTHERS = ("mosi", "mosei", "meld", "iemocap")
ROWS = {
    "alone": {"data.also": (), "datasets": _OTHERS},
    "no_context": {
        **{"text.context": 0, "text.context_behind": 0},
        "datasets": _OTHERS,
    },
    "no_contrast": dict(contrast=0.0),
    # The other values of the authors' flag adapter_name.
    "parallel": dict(adapter_name="parallel"),
    "cross_attention": dict(adapter_name="cross_attention", adapter_dim=30),
}


def get_config(argument=""):
    values = recipe.values(argument, DATASETS, base=BASE, rows=ROWS)
    return recipe.make("unimse", values)
