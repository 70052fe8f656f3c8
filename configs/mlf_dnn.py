"""MLF-DNN: `configs/mlf_dnn.py:DATASET`, hyperparameters of MMSA's config_regression.json @ a94e65d."""

from msajax.run import recipe

DATASETS = {
    "sims": dict(
        model=dict(
            hidden_dims=(64, 32, 64),
            text_out=32,
            post_dims=(16, 4, 32),
            post_fusion_dim=32,
            audio_dropout=0.3,
            vision_dropout=0.3,
            post_dropouts=(0.5, 0.5, 0.5),
            post_fusion_dropout=0.5,
            weights=(0.6, 0.2, 0.8, 0.8),
        ),
        optimizer=dict(
            learning_rate=2e-3,
            **recipe.subnet_decays(text=1e-4, audio=1e-3, vision=1e-4, other=0.0),
        ),
        train=dict(batch_size=32),
    ),
    "simsv2": dict(
        model=dict(
            hidden_dims=(128, 32, 128),
            text_out=32,
            post_dims=(32, 4, 64),
            post_fusion_dim=64,
            audio_dropout=0.2,
            vision_dropout=0.2,
            post_dropouts=(0.3, 0.3, 0.3),
            post_fusion_dropout=0.3,
            weights=(0.8, 1.0, 0.6, 0.8),
        ),
        optimizer=dict(
            learning_rate=5e-3,
            **recipe.subnet_decays(text=0.0, audio=1e-5, vision=1e-5, other=1e-4),
        ),
        train=dict(batch_size=64),
    ),
    # Poria's vectors have no labels of the modalities.
    "demo": recipe.demo(
        model=dict(hidden_dims=(32, 16, 16), text_out=32, post_dims=(16, 16, 16))
    ),
}


def get_config(argument=""):
    return recipe.make("mlf_dnn", recipe.values(argument, DATASETS))
