"""MMIM: `configs/mmim.py:DATASET[/ROW]`, hyperparameters of MMSA's config_regression.json @ a94e65d.

They are those of the authors' src/config.py, declare-lab/Multimodal-Infomax @ cd0774c (40
epochs and patience 10 there). A cycle is an epoch of the estimators and one of all else.
On MOSEI both codes stop the estimators' epoch at half of its batches; ours takes all. Their
clip measures the gradients of all parameters, ours those that the phase trains. Their
trainers start all matrices outside of the encoder anew (Xavier, normal), ours do not.
"""

from msajax.run import recipe

_ESTIMATORS = r"mi_\w+/(mean|log_variance)_\d/.*"


# The estimators, then all else, an epoch each; its rate alone goes by the validation loss.
_PHASES = (
    dict(name="estimators", loss="estimator_loss", train=_ESTIMATORS, epochs=1),
    dict(
        name="main",
        train=rf"(?!{_ESTIMATORS}).*",
        epochs=1,
        optimizer=dict(schedule="plateau", plateau_patience=20, plateau_factor=0.5),
    ),
)


_THEIRS = dict(
    precision="auto",
    text=dict(encoder="bert-base-uncased"),
    model=dict(
        hidden_dims=(16, 16),
        out_dims=(16, 16),
        bidirectional=True,
        fusion_dim=128,
        fusion_dropout=0.1,
        contrast=0.1,
        bound=0.1,
    ),
    train=dict(batch_size=32),
    cycles=100,
    phases=_PHASES,
    optimizer=dict(
        learning_rate=1e-3, encoder_rate=5e-5, weight_decay=1e-4, clip_norm=1.0
    ),
)
BASE = recipe.merge(recipe.MMSA, _THEIRS)
DATASETS = {
    "mosi": {},
    "mosei": {},
    "sims": dict(text=dict(encoder="bert-base-chinese", max_length=39)),
    "demo": recipe.demo(
        model=dict(pooling="mean", fusion_dim=32), cycles=30, phases=_PHASES
    ),
    "poria": recipe.poria(
        model=dict(hidden_dims=(32, 32), fusion_dim=64), cycles=60, phases=_PHASES
    ),
}

# The authors' flags: --add_va, without --contrast, and without --bidirectional, as the
# command of their README. The last two are the terms of the loss one by one.
ROWS = {
    "audio_vision": dict(audio_vision=True),
    "no_information": dict(contrast=0.0, bound=0.0),
    "one_direction": dict(bidirectional=False),
    "no_contrast": dict(contrast=0.0),
    "no_bound": dict(bound=0.0),
}


def get_config(argument=""):
    values = recipe.values(argument, DATASETS, base=BASE, rows=ROWS)
    return recipe.make("mmim", values)
