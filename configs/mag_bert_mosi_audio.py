"""MAG-BERT on text and one vector of audio per clip of CMU-MOSI, without vision.

`configs/mag_bert_mosi_audio.py:ENCODER`; optimized as `text_only_mosi` is, to
show what audio adds to it.
"""

from configs import common


def get_config(encoder="bert-base-uncased"):
    config = common.get_config("mag_bert", "mosi")
    config.data.update(modalities=("text", "audio"))
    config.text.encoder = encoder
    config.model.update(align=True)  # the vector goes to each word piece
    config.train.update(epochs=10, patience=0, batch_size=32, select="mae")
    common.fine_tune(config, learning_rate=5e-5, head=1e-3)
    return config
