"""Text alone on CMU-MOSI, a pretrained encoder fine-tuned: `configs/text_only_mosi.py:ENCODER`.

The recipe is ours, a common one for BERT: AdamW, warm-up over a tenth of 10 epochs.
"""

from configs import common


def get_config(encoder="bert-base-uncased"):
    config = common.get_config("text_only", "mosi")
    # Buckets would save half of the steps, and train worse (README, "Results").
    config.data.modalities = ("text",)
    config.text.encoder = encoder
    config.train.update(epochs=10, patience=0, batch_size=32, select="mae")
    common.fine_tune(config, learning_rate=5e-5, head=1e-3)
    return config
