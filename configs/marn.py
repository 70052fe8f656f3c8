"""MARN: `configs/marn.py:DATASET[/ROW]`, hyperparameters of sverma88's code/MARN.py @ 866e107.

That script is for CMU-MOSEI; none are known for CMU-MOSI, which has the same here.
"""

from msajax.run import recipe

BASE = dict(
    data=dict(variant="aligned"),
    model=dict(hidden_dims=(128, 30, 32), view_dims=(32, 16, 16), heads=4, post_dim=10),
    train=dict(batch_size=256, epochs=250, patience=0),
    optimizer=dict(
        learning_rate=1e-4,
        schedule="plateau",
        plateau_factor=0.5,
        plateau_patience=100,
    ),
)
DATASETS = {
    "mosi": {},
    "mosei": {},
    "demo": recipe.demo(model=dict(hidden_dims=(32, 16, 16), view_dims=(16, 8, 8))),
    "poria": recipe.poria(model=dict(hidden_dims=(64, 16, 16), view_dims=(32, 8, 8))),
}

# As the published code, whose LSTMs of audio and vision never read their own states.
ROWS = {"published": dict(recurrence="text", attention="joint", output="code")}


def get_config(argument=""):
    values = recipe.values(argument, DATASETS, base=BASE, rows=ROWS)
    return recipe.make("marn", values)
