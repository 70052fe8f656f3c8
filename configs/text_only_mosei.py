"""Text alone on CMU-MOSEI, a pretrained encoder fine-tuned: `configs/text_only_mosei.py:ENCODER`.

The recipe is ours, a common one for BERT: AdamW, warm-up over a tenth of 4 epochs.
"""

from configs import common


def get_config(encoder="bert-base-uncased"):
    config = common.get_config("text_only", "mosei")
    config.data.update(modalities=("text",), buckets=4)
    config.text.encoder = encoder
    config.train.update(epochs=4, patience=0, batch_size=32, select="mae")
    common.fine_tune(config, learning_rate=5e-5, head=1e-3)
    return config
