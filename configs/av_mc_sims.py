"""AV-MC on CH-SIMS, unaligned; the hyperparameters are those for CH-SIMS v2, as none are published."""

from configs import common


def get_config(encoder="bert-base-chinese"):
    config = common.get_config("av_mc", "sims")
    config.data.update(variant="unaligned", dims=(768, 33, 709), lengths=(39, 400, 55))
    # Frozen, as theirs.
    config.text.update(encoder=encoder, max_length=39, frozen=True)
    config.model.update(
        hidden_dims=(64, 16, 16),
        post_dims=(32, 32, 64),
        fusion_dim=16,
        audio_dropout=0.1,
        vision_dropout=0.1,
        post_dropouts=(0.3, 0.3, 0.3),
        fusion_dropout=0.3,
        weights=(1.0, 0.2, 0.8, 0.4),
        alpha=1.0,
    )
    # The authors stop by patience alone, without a limit of epochs.
    config.train.update(batch_size=32, epochs=100, patience=8)
    config.optimizer.update(
        learning_rate=5e-4,
        groups=(
            ("audio/.*", {}),
            ("vision/.*", {"learning_rate": 1e-3}),
            (".*", {"weight_decay": 5e-4}),
        ),
    )
    return config
