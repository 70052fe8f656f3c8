"""The text of a system that reads word pieces where `config.text` has an encoder, else features."""

from collections.abc import Mapping

import flax.linen as nn
import jax

from msajax.encoders.kinds import Encoder
from msajax.encoders.layers import Encoded
from msajax.nn.masks import front, to_front
from msajax.nn.pooling import mean_pool


def make_encoder(
    config: Encoder | None, *, remat: bool, scan: bool, pooler: bool = False
) -> nn.Module | None:
    """The network at 'encoder', where pretrained weights go; None without a config.

    Args:
      config: of the network.
      remat, scan: of its layers, see `LayerStack`.
      pooler: whether it has its layer for `text_vector`.

    Returns:
      As `Bert` and `XLNet`.
    """
    if config is None:
        return None
    pooler &= config.summary != "mean"  # that mean is of the utterance alone
    settings = dict(dtype=None, remat=remat, scan=scan)
    return config.encoder(pooler=pooler, **settings, name="encoder")


def text_steps(
    encoder: nn.Module | None, batch: Mapping[str, jax.Array], *, train: bool
) -> dict[str, jax.Array]:
    """The batch as a system of text features sees it.

    Args:
      encoder: of `make_encoder`; None takes the features.
      batch: with 'text_ids', 'text_type' and 'text_mask' [B, L], or 'text' [B, L, D].
      train: with dropout.

    Returns:
      That of `own_steps`, where 'text' [B, L, D] are the encoder's last hidden states of
      the utterance's own steps; or the batch with its text features.
    """
    if encoder is None:
        return dict(batch)
    masks = dict(mask=batch["text_mask"], segments=batch["text_type"])
    last = encoder(batch["text_ids"], **masks, train=train).last
    return {**own_steps(batch), "text": own_states(last, batch)}


def text_vector(encoded: Encoded, batch: Mapping[str, jax.Array]) -> jax.Array:
    """The vector of a sequence, [B, D], that an encoder with its pooler gives.

    Where an encoder has no such vector (T5) it is the mean over the utterance's own steps.
    """
    if encoded.pooled is not None:
        return encoded.pooled
    own = own_steps(batch)["text_mask"]
    return mean_pool(own_states(encoded.last, batch), own)


def own_steps(batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """The batch whose 'text_mask' is of the utterance alone, in the order of `own_states`.

    Whatever a system does with the text behind its encoder goes by this mask: neighbours
    (config.text.context) are read by the encoder alone.
    """
    found = dict(batch)
    if (own := found.pop("text_own", None)) is not None:
        found["text_mask"] = front(own)
    return found


def own_states(x: jax.Array, batch: Mapping[str, jax.Array]) -> jax.Array:
    """The steps of the utterance alone, in front, of those that an encoder gives: [B, L, D]."""
    own = batch.get("text_own")
    return x if own is None else to_front(x, own)
