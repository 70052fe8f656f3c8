"""The embedding subnetworks of TFN, which LMF, LF-DNN and their multi-task forms share, and the layers behind them.

Zadeh et al., "Tensor Fusion Network for Multimodal Sentiment Analysis", EMNLP
2017, as in thuiar/MMSA: BatchNorm on the averaged features, and no dropout
after the text's LSTM (MMSA has a setting for it, but switches it off in an LSTM
of one layer, the only one there is).
"""

from collections.abc import Sequence

import chex
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
        chex.assert_rank([x, valid], [2, 1])
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


def post_layers(
    x: jax.Array,
    dim: int,
    outputs: int,
    *,
    name: str,
    train: bool,
    dropout: float = 0.0,
) -> jax.Array:
    """Dropout, two ReLU layers and an output layer, of the compact module that calls this.

    Args:
      x: [B, D], a modality's embedding, or a fusion of all.
      dim: width of the ReLU layers.
      outputs: width of the output.
      name: of the layers: `<name>_1`, `<name>_2`, `<name>_3`.
      train: apply dropout.
      dropout: of x.

    Returns:
      [B, outputs].
    """
    chex.assert_rank(x, 2)
    h = Dropout(dropout)(x, deterministic=not train)
    h = nn.relu(Linear(dim, name=f"{name}_1")(h))
    h = nn.relu(Linear(dim, name=f"{name}_2")(h))
    return Linear(outputs, name=f"{name}_3")(h)


def modality_predictions(
    embeddings: dict[str, jax.Array],
    tasks: Sequence[str],
    dims: tuple[int, int, int],
    *,
    train: bool,
    dropouts: tuple[float, float, float],
) -> dict[str, jax.Array]:
    """What each modality alone predicts by `post_layers`, of the compact module that calls this.

    Args:
      embeddings: of `Subnets`.
      tasks: modalities that predict.
      dims, dropouts: of text, audio and vision.
      train: apply dropout.

    Returns:
      'pred_<modality>' [B] of the tasks; the layers are `post_<modality>_1`, ... .
    """
    found = {}
    modalities = ("text", "audio", "vision")
    for m, dim, dropout in zip(modalities, dims, dropouts, strict=True):
        if m in tasks:
            found[f"pred_{m}"] = post_layers(
                embeddings[m], dim, 1, name=f"post_{m}", dropout=dropout, train=train
            )[:, 0]
    return found
