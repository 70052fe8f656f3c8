"""MAG-XLNet: `configs/mag_xlnet.py:DATASET`, hyperparameters of the authors' multimodal_driver.py.

Audio and vision have a row per word.
"""

from msajax.run import recipe

BASE = dict(
    data=dict(variant="mag"),
    precision="auto",
    text=dict(encoder="xlnet-base-cased", words=True),
    model=dict(criterion="mse"),
    train=dict(batch_size=48, epochs=40, patience=0),
    optimizer=recipe.fine_tune(learning_rate=1e-5, head=1e-5),
)
DATASETS = {
    "mosi": {},
    "mosei": {},
    # It needs an encoder: --config.text.encoder=NAME.
    "demo": recipe.demo(
        model=dict(align=True),
        train=dict(epochs=10),
        optimizer=recipe.fine_tune(learning_rate=1e-4, head=1e-3),
    ),
}


def get_config(argument=""):
    return recipe.make("mag_xlnet", recipe.values(argument, DATASETS, base=BASE))
