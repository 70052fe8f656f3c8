"""MTFN: `configs/mtfn.py:DATASET`, hyperparameters of MMSA's config_regression.json @ a94e65d."""

from msajax.run import recipe

DATASETS = {
    "sims": dict(
        model=dict(
            hidden_dims=(256, 32, 256),
            text_out=256,
            post_dims=(64, 4, 8),
            post_fusion_dim=64,
            audio_dropout=0.2,
            vision_dropout=0.2,
            post_dropouts=(0.2, 0.2, 0.2),
            post_fusion_dropout=0.2,
            weights=(0.6, 0.4, 0.0, 1.0),
        ),
        optimizer=dict(
            learning_rate=5e-3,
            **recipe.subnet_decays(text=1e-3, audio=1e-4, vision=1e-5, other=5e-3),
        ),
        train=dict(batch_size=64),
    ),
    "simsv2": dict(
        model=dict(
            hidden_dims=(64, 16, 64),
            text_out=32,
            post_dims=(16, 5, 64),
            post_fusion_dim=64,
            audio_dropout=0.3,
            vision_dropout=0.3,
            post_dropouts=(0.5, 0.5, 0.5),
            post_fusion_dropout=0.5,
            weights=(1.0, 0.4, 0.4, 0.8),
        ),
        optimizer=dict(
            learning_rate=5e-4,
            **recipe.subnet_decays(text=1e-5, audio=1e-4, vision=1e-4, other=1e-2),
        ),
        train=dict(batch_size=32),
    ),
    # Poria's vectors have no labels of the modalities.
    "demo": recipe.demo(
        model=dict(
            hidden_dims=(32, 16, 16),
            text_out=16,
            post_dims=(16, 16, 16),
            post_fusion_dim=32,
            weights=(1.0, 0.4, 0.4, 0.8),
        )
    ),
}


def get_config(argument=""):
    return recipe.make("mtfn", recipe.values(argument, DATASETS))
