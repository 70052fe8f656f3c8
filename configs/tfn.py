"""TFN: `configs/tfn.py:DATASET`, hyperparameters of MMSA's config_regression.json @ a94e65d."""

from msajax.run import recipe

_MOSI = dict(
    model=dict(
        hidden_dims=(128, 32, 128),
        text_out=32,
        post_fusion_dim=64,
        audio_dropout=0.3,
        vision_dropout=0.3,
        post_fusion_dropout=0.5,
    ),
    optimizer=dict(learning_rate=1e-3),
    train=dict(batch_size=32),
)
# ALR's Table IV has it on MELD and IEMOCAP, without settings: the values are those of CMU-MOSI,
# on the vectors of the pickles of conversations, each utterance by itself.
_UTTERANCES = dict(data=dict(variant="features"), train=dict(select="weighted_f1"))
_DEMO = dict(hidden_dims=(32, 16, 16), text_out=16, post_fusion_dim=32)
DATASETS = {
    "mosi": _MOSI,
    "mosei": dict(
        model=dict(
            hidden_dims=(128, 16, 128),
            text_out=128,
            post_fusion_dim=16,
            audio_dropout=0.4,
            vision_dropout=0.4,
            post_fusion_dropout=0.4,
        ),
        optimizer=dict(learning_rate=5e-3),
        train=dict(batch_size=128),
    ),
    "sims": dict(
        model=dict(
            hidden_dims=(128, 32, 128),
            text_out=256,
            post_fusion_dim=32,
            audio_dropout=0.4,
            vision_dropout=0.4,
            post_fusion_dropout=0.4,
        ),
        optimizer=dict(learning_rate=5e-4),
        train=dict(batch_size=32),
    ),
    "simsv2": dict(
        model=dict(
            hidden_dims=(128, 32, 128),
            text_out=128,
            post_fusion_dim=32,
            audio_dropout=0.3,
            vision_dropout=0.3,
            post_fusion_dropout=0.5,
        ),
        optimizer=dict(learning_rate=2e-3),
        train=dict(batch_size=128),
    ),
    "meld": recipe.merge(_MOSI, _UTTERANCES),
    "iemocap": recipe.merge(_MOSI, _UTTERANCES),
    "demo": recipe.demo(model=_DEMO),
    "dialogue_demo": recipe.dialogue_demo(model=_DEMO),
    "poria": recipe.poria(
        model=dict(
            hidden_dims=(64, 16, 16),
            text_out=32,
            audio_dropout=0.6,
            vision_dropout=0.6,
        )
    ),
}

# Features of a frozen encoder instead of the file's, as in MSG/MBA's Tables I and II.
ROWS = recipe.FEATURES


def get_config(argument=""):
    values = recipe.values(argument, DATASETS, rows=ROWS)
    return recipe.make("tfn", values)
