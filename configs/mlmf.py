"""MLMF: `configs/mlmf.py:DATASET[/ROW]`, hyperparameters of MMSA's config_regression.json @ a94e65d."""

from msajax.run import recipe


def _optimizer(*, factors, **decays):
    """The factors have a rate of their own."""
    made = recipe.subnet_decays(**decays)
    factor = (r".*_factor", dict(learning_rate=factors))
    return made | dict(groups=(factor, *made["groups"]))


DATASETS = {
    "sims": dict(
        model=dict(
            hidden_dims=(256, 32, 256),
            post_dims=(8, 4, 32),
            rank=3,
            audio_dropout=0.3,
            vision_dropout=0.3,
            post_dropouts=(0.4, 0.4, 0.4),
            weights=(0.2, 1.0, 0.4, 0.8),
        ),
        optimizer=dict(
            learning_rate=1e-3,
            **_optimizer(factors=1e-3, text=1e-4, audio=0.0, vision=1e-4, other=5e-3),
        ),
        train=dict(batch_size=128),
    ),
    "simsv2": dict(
        model=dict(
            hidden_dims=(64, 16, 64),
            post_dims=(16, 5, 16),
            rank=6,
            audio_dropout=0.3,
            vision_dropout=0.3,
            post_dropouts=(0.4, 0.4, 0.4),
            weights=(0.4, 0.0, 0.4, 1.0),
        ),
        optimizer=dict(
            learning_rate=5e-3,
            **_optimizer(factors=5e-4, text=0.0, audio=1e-5, vision=1e-5, other=1e-3),
        ),
        train=dict(batch_size=64),
    ),
    # Poria's vectors have no labels of the modalities.
    "demo": recipe.demo(
        model=dict(
            hidden_dims=(32, 16, 16),
            post_dims=(16, 16, 16),
            weights=(1.0, 0.4, 0.4, 0.8),
        ),
        optimizer=dict(groups=((r".*", {}),)),
    ),
}

# As MMSA: the weights and the bias of the rank-one terms stay as they start.
ROWS = {"frozen_fusion": {}}


def _rows(values):
    fusion = (r"fusion_(weights|bias)", None)
    groups = (fusion, *values["optimizer"]["groups"])
    return ROWS | {"frozen_fusion": {"optimizer.groups": groups}}


def get_config(argument=""):
    return recipe.make("mlmf", recipe.values(argument, DATASETS, rows=_rows))
