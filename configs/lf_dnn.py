"""LF-DNN: `configs/lf_dnn.py:DATASET`, hyperparameters of MMSA's config_regression.json @ a94e65d."""

from msajax.run import recipe

DATASETS = {
    "mosi": dict(
        model=dict(
            hidden_dims=(128, 16, 128),
            text_out=256,
            post_fusion_dim=128,
            audio_dropout=0.2,
            vision_dropout=0.2,
            post_fusion_dropout=0.2,
        ),
        optimizer=dict(learning_rate=1e-3, weight_decay=1e-2),
        train=dict(batch_size=128),
    ),
    "mosei": dict(
        model=dict(
            hidden_dims=(128, 32, 128),
            text_out=128,
            post_fusion_dim=128,
            audio_dropout=0.2,
            vision_dropout=0.2,
            post_fusion_dropout=0.2,
        ),
        optimizer=dict(learning_rate=2e-3, weight_decay=1e-3),
        train=dict(batch_size=64),
    ),
    "sims": dict(
        model=dict(
            hidden_dims=(128, 32, 128),
            text_out=256,
            post_fusion_dim=32,
            audio_dropout=0.3,
            vision_dropout=0.3,
            post_fusion_dropout=0.5,
        ),
        optimizer=dict(learning_rate=5e-3, weight_decay=5e-3),
        train=dict(batch_size=128),
    ),
    "simsv2": dict(
        model=dict(
            hidden_dims=(64, 32, 64),
            text_out=256,
            post_fusion_dim=32,
            audio_dropout=0.4,
            vision_dropout=0.4,
            post_fusion_dropout=0.4,
        ),
        optimizer=dict(learning_rate=5e-3),
        train=dict(batch_size=128),
    ),
    "demo": recipe.demo(
        model=dict(hidden_dims=(32, 16, 16), text_out=32, post_fusion_dim=32)
    ),
    "poria": recipe.poria(
        model=dict(audio_dropout=0.6, vision_dropout=0.6, post_fusion_dropout=0.5)
    ),
}


def get_config(argument=""):
    values = recipe.values(argument, DATASETS, base=recipe.MMSA)
    return recipe.make("lf_dnn", values)
