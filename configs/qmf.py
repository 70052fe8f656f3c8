"""QMF: `configs/qmf.py:DATASET[/ROW]`, hyperparameters of qiuchili/monosenti's configs @ f12cf9b.

These are the values that its search on each data set starts from (grid_search/). The paper
has GloVe's vectors for text, which are trained; MMSA's aligned files have BERT's features.
The rows `words` learn vectors of words, and pool audio and vision to them. The recipes of the
demo corpus and of Poria's vectors take Adam, as those of the other systems do.
"""

from msajax.run import recipe

BASE = dict(
    model=dict(
        mixture="local",
        windows=(2, 3),
        hidden=32,
        state_dims=(10, 10, 10),
        measurements=20,
        out_dim=32,
        subnet_dropouts=(0.2, 0.2, 0.2),
        out_dropout=0.2,
    ),
    # PyTorch's RMSprop.
    optimizer=dict(name="rmsprop", learning_rate=3e-3, b2=0.99, clip_norm=0.8),
    train=dict(batch_size=32, patience=0),
)
DATASETS = {
    "mosi": dict(data=dict(variant="aligned"), train=dict(epochs=100)),
    "mosei": dict(data=dict(variant="aligned"), train=dict(epochs=15)),
    # Four emotions at once in the paper, present or not; here one of four, as in MulT's file.
    "iemocap4": dict(train=dict(epochs=100, select="accuracy")),
    "demo": recipe.demo(),
    "poria": recipe.poria(),
}

ROWS = {
    "uqdnn": {
        **dict(mixture="global", state_dims=(5, 5, 5), measurements=100),
        **{"train.batch_size": 128},
    },
    "words": {"text.vocabulary": True, "datasets": ("mosi", "mosei", "demo")},
}


def get_config(argument=""):
    values = recipe.values(argument, DATASETS, base=BASE, rows=ROWS)
    return recipe.make("qmf", values)
