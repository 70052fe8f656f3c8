"""MAG-XLNet on CMU-MOSEI, a row per word (hyperparameters: the authors' multimodal_driver.py)."""

from configs import common


def get_config(encoder="xlnet-base-cased"):
    config = common.get_config("mag_xlnet", "mosei")
    config.data.update(variant="mag", dims=(1, 74, 35), lengths=(50, 50, 50))
    config.text.update(encoder=encoder, max_length=50, words=True)
    config.model.update(criterion="mse")
    config.train.update(batch_size=48, epochs=40, patience=0)
    common.fine_tune(config, learning_rate=1e-5, head=1e-5)
    return config
