"""ALMT on CMU-MOSEI, unaligned (hyperparameters: configs/mosei.yaml of Haoyu-ha/ALMT @ da94610)."""

from configs import common


def get_config(encoder="bert-base-uncased"):
    config = common.get_config("almt", "mosei")
    config.data.update(variant="unaligned", dims=(768, 74, 35), lengths=(50, 500, 500))
    config.text.update(encoder=encoder, max_length=50)
    config.model.update(dim=128, tokens=8, ahl_layers=3, fusion_layers=4)
    # The authors have no patience; MMSA's is 32.
    config.train.update(batch_size=64, epochs=200, patience=32)
    # Theirs steps the rate once an epoch and starts with one of rate 0.
    config.optimizer.update(
        name="adamw",
        learning_rate=1e-4,
        weight_decay=1e-4,
        schedule="warmup_cosine",
        warmup=0.1,
    )
    return config
