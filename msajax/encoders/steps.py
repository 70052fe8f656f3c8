"""The text of a system that reads word pieces where `config.text` has an encoder, else features."""

from collections.abc import Mapping

import flax.linen as nn
import jax

from msajax.encoders.kinds import Encoder


def make_encoder(
    config: Encoder | None, *, remat: bool, scan: bool
) -> nn.Module | None:
    """The network at 'encoder', where pretrained weights go; None without a config.

    Args:
      config: of the network.
      remat, scan: of its layers, see `LayerStack`.

    Returns:
      As `Bert` and `XLNet`, without a pooler.
    """
    if config is None:
        return None
    settings = dict(dtype=None, remat=remat, scan=scan)
    return config.encoder(pooler=False, **settings, name="encoder")


def text_steps(
    encoder: nn.Module | None, batch: Mapping[str, jax.Array], *, train: bool
) -> jax.Array:
    """The text's steps.

    Args:
      encoder: of `make_encoder`; None takes the features.
      batch: with 'text_ids', 'text_type' and 'text_mask' [B, L], or 'text' [B, L, D].
      train: with dropout.

    Returns:
      The encoder's last hidden states, or the text features: [B, L, D].
    """
    if encoder is None:
        return batch["text"]
    masks = dict(mask=batch["text_mask"], segments=batch["text_type"])
    return encoder(batch["text_ids"], **masks, train=train).last
