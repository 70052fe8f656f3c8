"""The embedding subnetworks of TFN, which LMF and LF-DNN share.

Zadeh et al., "Tensor Fusion Network for Multimodal Sentiment Analysis", EMNLP
2017, as in thuiar/MMSA: BatchNorm on the averaged features, and no dropout
after the text's LSTM (MMSA has a setting for it, but switches it off in an LSTM
of one layer, the only one there is).
"""

import flax.linen as nn
import jax

from msajax.nn.dropout import Dropout
from msajax.nn.linear import Linear
from msajax.nn.masks import step_masks
from msajax.nn.norm import BatchNorm
from msajax.nn.pooling import mean_pool
from msajax.nn.recurrent import LSTM


class SubNet(nn.Module):
    """BatchNorm, dropout and three ReLU layers on one vector per row.

    Attributes:
      hidden: width of the three layers.
      dropout: of the normalised input.
    """

    hidden: int
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, *, valid: jax.Array, train: bool) -> jax.Array:
        """[B, D], valid [B] bool -> [B, hidden]."""
        h = BatchNorm(name="norm")(x, where=valid, train=train)
        h = Dropout(self.dropout)(h, deterministic=not train)
        for i in (1, 2, 3):
            h = nn.relu(Linear(self.hidden, name=f"linear_{i}")(h))
        return h


class TextSubNet(nn.Module):
    """The last state of an LSTM, projected.

    Attributes:
      hidden: width of the LSTM.
      out: width of the output.
    """

    hidden: int
    out: int

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array, *, train: bool) -> jax.Array:
        """[B, L, D], mask [B, L] bool -> [B, out]."""
        _, last = LSTM(self.hidden, name="lstm")(x, mask, train=train)
        return Linear(self.out, name="linear")(last)


class Subnets(nn.Module):
    """Embeddings of the three modalities.

    Attributes:
      hidden_dims: widths of the text, audio and vision subnetworks.
      text_out: width of the text embedding.
      audio_dropout, vision_dropout: of the subnetworks' inputs.
      padded: average over the padded length and run the LSTM over the padding.
    """

    hidden_dims: tuple[int, int, int]
    text_out: int
    audio_dropout: float
    vision_dropout: float
    padded: bool

    @nn.compact
    def __call__(
        self, batch: dict[str, jax.Array], *, train: bool
    ) -> dict[str, jax.Array]:
        """A batch -> 'text' [B, text_out], 'audio' and 'vision' [B, hidden]."""
        hidden_t, hidden_a, hidden_v = self.hidden_dims
        mask_t, mask_a, mask_v = step_masks(batch, padded=self.padded)
        valid = batch["valid"]
        text = TextSubNet(hidden_t, self.text_out, name="text")
        audio = SubNet(hidden_a, self.audio_dropout, name="audio")
        vision = SubNet(hidden_v, self.vision_dropout, name="vision")
        mean_a = mean_pool(batch["audio"], mask_a)
        mean_v = mean_pool(batch["vision"], mask_v)
        return {
            "text": text(batch["text"], mask_t, train=train),
            "audio": audio(mean_a, valid=valid, train=train),
            "vision": vision(mean_v, valid=valid, train=train),
        }
