"""LMF: `configs/lmf.py:DATASET`, hyperparameters of MMSA's config_regression.json @ a94e65d."""

from msajax.run import recipe


def _factors(learning_rate):
    """The factors have a rate of their own, and do not decay."""
    factors = dict(learning_rate=learning_rate, weight_decay=0.0)
    return ((r".*_factor", factors), (r".*", {}))


_MOSI = dict(
    model=dict(
        hidden_dims=(128, 16, 128), rank=3, audio_dropout=0.3, vision_dropout=0.3
    ),
    optimizer=dict(learning_rate=1e-3, weight_decay=5e-3, groups=_factors(1e-3)),
    train=dict(batch_size=64),
)
# ALR's Table IV has it on MELD and IEMOCAP, without settings: the values are those of CMU-MOSI,
# on the vectors of the pickles of conversations, each utterance by itself.
_UTTERANCES = dict(data=dict(variant="features"), train=dict(select="weighted_f1"))
_DEMO = dict(hidden_dims=(32, 16, 16))
DATASETS = {
    "mosi": _MOSI,
    "mosei": dict(
        model=dict(
            hidden_dims=(128, 16, 128), rank=4, audio_dropout=0.2, vision_dropout=0.2
        ),
        optimizer=dict(learning_rate=1e-3, weight_decay=1e-3, groups=_factors(1e-3)),
        train=dict(batch_size=32),
    ),
    "sims": dict(
        model=dict(
            hidden_dims=(64, 16, 64), rank=4, audio_dropout=0.2, vision_dropout=0.2
        ),
        optimizer=dict(learning_rate=2e-3, weight_decay=5e-3, groups=_factors(5e-4)),
        train=dict(batch_size=64),
    ),
    "simsv2": dict(
        model=dict(
            hidden_dims=(64, 32, 64), rank=4, audio_dropout=0.3, vision_dropout=0.3
        ),
        optimizer=dict(learning_rate=2e-3, weight_decay=1e-4, groups=_factors(5e-4)),
        train=dict(batch_size=32),
    ),
    "meld": recipe.merge(_MOSI, _UTTERANCES),
    "iemocap": recipe.merge(_MOSI, _UTTERANCES),
    "demo": recipe.demo(model=_DEMO),
    "dialogue_demo": recipe.dialogue_demo(model=_DEMO),
    "poria": recipe.poria(model=dict(rank=4), optimizer=dict(weight_decay=1e-2)),
}

# Features of a frozen encoder instead of the file's, as in MSG/MBA's Tables I and II.
ROWS = recipe.FEATURES


def get_config(argument=""):
    values = recipe.values(argument, DATASETS, rows=ROWS)
    return recipe.make("lmf", values)
