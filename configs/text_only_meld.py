"""Text alone on MELD, a pretrained encoder fine-tuned: `configs/text_only_meld.py:ENCODER`.

The recipe is ours, a common one for BERT: AdamW, warm-up over a tenth of 4 epochs.
"""

from configs import common


def get_config(encoder="bert-base-uncased"):
    config = common.get_config("text_only", "meld")
    # Of 9989 training texts 64 have more than 40 pieces; half have at most 12.
    config.data.update(modalities=("text",), buckets=4)
    config.text.update(encoder=encoder, max_length=40)
    config.train.update(epochs=4, patience=0, batch_size=32, select="weighted_f1")
    common.fine_tune(config, learning_rate=5e-5, head=1e-3)
    return config
