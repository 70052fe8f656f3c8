"""IMR: `configs/imr.py:DATASET`, hyperparameters of martinmamql/multimodal_routing's run.sh @ 8329c01.

run.sh has CMU-MOSEI, whose features are word-aligned there, with GloVe's for text; those of
MMSA's public file are BERT's. The paper takes the same for IEMOCAP. The authors' learning
rate stays as it is: each epoch sets it anew, so the plateau that they name has no effect.
"""

from msajax.run import recipe

BASE = dict(
    model=dict(
        dim=200,
        heads=20,
        layers=7,
        pose_dim=64,
        concept_dim=64,
        routings=1,
        concept_dropout=0.5,
    ),
    optimizer=dict(learning_rate=1e-4, weight_decay=1e-4, clip_norm=1.0),
    train=dict(batch_size=32, epochs=20, patience=0),
)
# A classification into scores overfits few rows soon: one layer, and dropout.
_SMALL = dict(
    **dict(layers=1, self_layers=1, pose_dim=16, concept_dim=16, remat=False),
    **dict(embed_dropout=0.2, relu_dropout=0.1, residual_dropout=0.1),
)
DATASETS = {
    "mosei": dict(data=dict(variant="aligned"), train=dict(select="acc7")),
    # Four emotions at once in the paper, present or not; here one of four, as in MulT's file.
    "iemocap4": dict(train=dict(select="accuracy")),
    "demo": recipe.demo(
        model=dict(dim=16, heads=2, concept_dropout=0.2, **_SMALL),
        train=dict(select="mae"),
        optimizer=dict(learning_rate=2e-3),
    ),
    "poria": recipe.poria(
        model=dict(dim=32, heads=4, **_SMALL), train=dict(select="mae")
    ),
}


def get_config(argument=""):
    return recipe.make("imr", recipe.values(argument, DATASETS, base=BASE))
