"""MMMU-BA: each pair of modalities attends to each other, over utterances or over frames.

Ghosal, Akhtar, Chauhan, Poria, Ekbal and Bhattacharyya, "Contextual Inter-modal Attention
for Multi-modal Sentiment Analysis", EMNLP 2018, after a public port of it to PyTorch. The
paper's level is the utterance, a mean of frames; but a batch here is of single utterances:
without the others of its video one attends to itself, so that the attention is the product
of both modalities, and the GRUs have no step before. The default is the port's other level,
frames: it labels each of them, here the means of what is made of them predict, so lengths
may differ. Padding is not attended to (`padded` restores it); dropout in evaluation is a
fault of the port (`dropout_at_test`).
"""

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp

from msajax.data.spec import MODALITIES
from msajax.models.base import Batch, Model, Outputs
from msajax.nn.bimodal import attend_pair
from msajax.nn.dropout import Dropout
from msajax.nn.linear import Linear
from msajax.nn.pooling import mean_pool
from msajax.nn.recurrent import Recurrent

# In the order of what is concatenated.
PAIRS = (("audio", "vision"), ("vision", "text"), ("text", "audio"))
ORDER = ("audio", "vision", "text")


class MMMUBA(Model):
    """Multi-modal Multi-utterance Bi-modal Attention.

    Attributes:
      hidden_dims: widths of the GRUs of text, audio and vision, in each direction.
      dim: common width d of the modalities.
      level: what attends, 'frame' or 'utterance'.
      dropout: dropout rate of the GRUs and of the next layers.
      dropout_at_test: the port's fault: dropout in evaluation too, here the same each time.
      padded: attend to padding too.
    """

    hidden_dims: tuple[int, int, int] = (300, 300, 300)
    dim: int = 100
    level: str = "frame"
    dropout: float = 0.3
    dropout_at_test: bool = False
    padded: bool = False

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Predictions; 'fusion' [B, 9 dim]: the pairs, then audio, vision and text."""
        self.check_choices({"level": ("utterance", "frame")})
        x: dict[str, jax.Array] = {m: batch[m] for m in MODALITIES}
        masks: dict[str, jax.Array] = {m: batch[f"{m}_mask"] for m in MODALITIES}
        if self.level == "utterance":
            x = {m: mean_pool(x[m], masks[m])[:, None] for m in MODALITIES}
            masks = {m: jnp.any(v, axis=1, keepdims=True) for m, v in masks.items()}
        rates = self.dropout, self.dropout_at_test
        network = Contextual(self.hidden_dims, self.dim, *rates, self.padded)
        nn.share_scope(self, network)
        parts = network(x, masks, train=train)
        pooled = [mean_pool(part, masks[m]) for m, part in parts]
        fusion = jnp.concatenate(pooled, axis=-1)
        pred = Linear(self.spec.num_outputs, name="head")(fusion)
        return {"pred": self.squeeze_single(pred), "fusion": fusion}


class Contextual(nn.Module):
    """All but the last layer, over a sequence of each modality; fields as in `MMMUBA`."""

    hidden_dims: tuple[int, int, int]
    dim: int
    dropout: float = 0.0
    dropout_at_test: bool = False
    padded: bool = False

    @nn.compact
    def __call__(
        self, x: Mapping[str, jax.Array], masks: Mapping[str, jax.Array], *, train: bool
    ) -> list[tuple[str, jax.Array]]:
        """Runs the network.

        Args:
          x: by modality [B, U, D], of utterances or frames.
          masks: by modality [B, U] bool, real ones.
          train: apply dropout.

        Returns:
          What is concatenated, in order: modality and [B, U, dim]; two of each pair.
        """
        h = {}
        for m, hidden in zip(MODALITIES, self.hidden_dims, strict=True):
            gru = Recurrent(hidden, "gru", bidirectional=True, name=f"{m}_gru")
            states = self._drop(gru(x[m], masks[m]), train)
            dense = nn.relu(Linear(self.dim, name=f"{m}_dense")(states))
            h[m] = self._drop(dense, train)
        parts = []
        for m, other in PAIRS:
            real = None if self.padded else (masks[m], masks[other])
            pair = attend_pair(h[m], h[other], real)
            parts += zip((m, other), pair, strict=True)
        return parts + [(m, h[m]) for m in ORDER]

    def _drop(self, x: jax.Array, train: bool) -> jax.Array:
        if self.dropout_at_test and not train:  # where there are no random numbers
            kept = jax.random.bernoulli(jax.random.key(0), 1 - self.dropout, x.shape)
            return jnp.where(kept, x / (1 - self.dropout), 0)
        return Dropout(self.dropout)(x, deterministic=not train)
