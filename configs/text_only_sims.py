"""Text alone on CH-SIMS, a pretrained encoder fine-tuned: `configs/text_only_sims.py:ENCODER`.

The recipe is ours, as on CMU-MOSI.
"""

from configs import common


def get_config(encoder="bert-base-chinese"):
    config = common.get_config("text_only", "sims")
    config.data.update(variant="unaligned", modalities=("text",))
    config.text.encoder = encoder
    config.train.update(epochs=10, patience=0, batch_size=32, select="mae")
    common.fine_tune(config, learning_rate=5e-5, head=1e-3)
    return config
