"""ALMT: `configs/almt.py:DATASET`, hyperparameters of the yaml files of Haoyu-ha/ALMT @ da94610.

The authors, and MMSA, step the learning rate once an epoch and start with an epoch of rate
0; we step it with every update. MMSA lists a largest gradient norm, but neither code clips.
"""

from msajax.run import recipe

BASE = dict(
    data=dict(variant="unaligned"),
    precision="auto",
    text=dict(encoder="bert-base-uncased"),
    model=dict(dim=128, tokens=8, ahl_layers=3),
    # The authors have no patience; MMSA's is 32.
    train=dict(batch_size=64, epochs=200, patience=32),
    optimizer=dict(
        name="adamw",
        learning_rate=1e-4,
        weight_decay=1e-4,
        schedule="warmup_cosine",
        warmup=0.1,
    ),
)
DATASETS = {
    "mosi": dict(model=dict(fusion_layers=2)),
    "mosei": dict(model=dict(fusion_layers=4)),
    "sims": dict(
        text=dict(encoder="bert-base-chinese", max_length=39),
        model=dict(fusion_layers=4),
    ),
    "demo": recipe.demo(
        model=dict(
            dim=32,
            tokens=4,
            head_dim=16,
            embedding_heads=2,
            embedding_mlp_dim=32,
            text_heads=2,
            text_mlp_dim=32,
            ahl_heads=2,
            fusion_heads=2,
            fusion_mlp_dim=32,
        )
    ),
    "poria": recipe.poria(
        model=dict(
            dim=64,
            tokens=4,
            head_dim=16,
            embedding_heads=4,
            embedding_mlp_dim=64,
            text_heads=4,
            text_mlp_dim=64,
            ahl_heads=4,
            fusion_heads=4,
            fusion_mlp_dim=64,
        )
    ),
}


def get_config(argument=""):
    return recipe.make("almt", recipe.values(argument, DATASETS, base=BASE))
