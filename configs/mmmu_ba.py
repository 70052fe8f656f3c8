"""MMMU-BA: `configs/mmmu_ba.py:DATASET`, the sizes of the paper as far as they are known to us.

The paper has CMU-MOSI and CMU-MOSEI, utterances as vectors: those of `poria` are its MOSI.
Here an utterance is alone; it has no context of its video (`msajax/models/mmmu_ba.py`).
GRUs of 300 units, layers of 100, dropout 0.3 and batches of 64 are from notes on the paper,
not read in it; the learning rate is Keras' default for Adam. The number of epochs is ours.
"""

from msajax.run import recipe

BASE = recipe.merge(
    recipe.MMSA,
    dict(
        model=dict(
            level="utterance", hidden_dims=(300, 300, 300), dim=100, dropout=0.3
        ),
        optimizer=dict(learning_rate=1e-3),
        train=dict(batch_size=64),
    ),
)
DATASETS = {
    "mosi": dict(),
    "mosei": dict(),
    "demo": recipe.demo(model=dict(hidden_dims=(32, 32, 32), dim=32)),
    "poria": recipe.poria(model=dict(hidden_dims=(64, 64, 64), dim=32)),
}


def get_config(argument=""):
    return recipe.make("mmmu_ba", recipe.values(argument, DATASETS, base=BASE))
