"""AV-MC: `configs/av_mc.py:DATASET`, hyperparameters V1 of config/config_regression.py of thuiar/ch-sims-v2 @ 6eb09e5.

They are those of CH-SIMS v2; none are published for CH-SIMS.
"""

from msajax.run import recipe

# The authors freeze the encoder too. Like MMSA, they stop by patience alone, without a
# limit of epochs.
_OURS = dict(
    text=dict(encoder="bert-base-chinese", frozen=True),
    model=dict(
        hidden_dims=(64, 16, 16),
        post_dims=(32, 32, 64),
        fusion_dim=16,
        audio_dropout=0.1,
        vision_dropout=0.1,
        post_dropouts=(0.3, 0.3, 0.3),
        fusion_dropout=0.3,
        weights=(1.0, 0.2, 0.8, 0.4),
        alpha=1.0,
    ),
    train=dict(batch_size=32),
    optimizer=dict(
        learning_rate=5e-4,
        groups=(
            (r"audio/.*", {}),
            (r"vision/.*", dict(learning_rate=1e-3)),
            (r".*", dict(weight_decay=5e-4)),
        ),
    ),
)
BASE = recipe.merge(recipe.MMSA, _OURS)
DATASETS = {
    "sims": dict(text=dict(max_length=39)),
    "simsv2": {},
    "demo": recipe.demo(
        model=dict(hidden_dims=(32, 16, 16), pooling="mean", output_range=(-3.0, 3.0))
    ),
    "poria": recipe.poria(
        model=dict(hidden_dims=(64, 32, 32), pooling="mean", output_range=(-3.0, 3.0))
    ),
}


def get_config(argument=""):
    return recipe.make("av_mc", recipe.values(argument, DATASETS, base=BASE))
