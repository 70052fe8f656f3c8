"""bc-LSTM: a bidirectional LSTM over the utterances of a conversation.

Poria et al., "Context-Dependent Sentiment Analysis in User-Generated Videos", ACL 2017,
in the form of declare-lab/conv-emotion bc-LSTM-pytorch @6128ca2: two layers, attention
over all utterances, one hidden layer. Unlike there the backward direction starts at a
dialogue's last utterance, not in its padding (`padded=True` is the reference's form).
"""

from typing import Annotated, ClassVar

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
from annotated_types import Gt

from msajax.models.base import Batch, Model, Outputs
from msajax.nn import turns
from msajax.nn.dropout import Dropout
from msajax.nn.embedding import Embed
from msajax.nn.linear import Linear, uniform
from msajax.nn.recurrent import both_directions
from msajax.nn.turns import MatchingAttention

Width = Annotated[int, Gt(0)]


class BCLSTM(Model):
    """Bidirectional contextual LSTM.

    It reads the features of all modalities that the data has, or the words of the text
    (config.text.vocabulary).

    Attributes:
      hidden: width of each direction's state.
      layers: number of LSTM layers.
      attention: each utterance attends to all of its dialogue.
      post_dim: width of the layer in front of the output.
      dropout: dropout rate between the layers, and in front of the output.
      word_dim: width of the words' embeddings.
      filters: number of convolutions over words of each kernel size.
      kernel_sizes: widths of the convolutions, in words.
      word_features: width of an utterance's features from its words.
      padded: as the reference, run over the padding.
    """

    view: ClassVar[str] = "dialogue"
    own_words: ClassVar[bool] = True

    hidden: Width = 100
    layers: Width = 2
    attention: bool = True
    post_dim: Width = 100
    dropout: float = 0.25
    word_dim: Width = 300
    filters: Width = 50
    kernel_sizes: tuple[Width, ...] = (3, 4, 5)
    word_features: Width = 100
    padded: bool = False

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Predictions of all turns; also the states of the LSTM, and attention weights."""
        mask = batch["utterance_mask"]
        steps = jnp.ones_like(mask) if self.padded else mask
        dropout = Dropout(self.dropout, deterministic=not train)
        out: Outputs = {}
        h = self._features(batch, out)
        sizes = dict(hidden=self.hidden, layers=self.layers)
        h = both_directions(h, steps, dropout, **sizes, cell="lstm")
        out["states"] = h
        if self.attention:
            h, out["weights"] = MatchingAttention(name="attention")(h, mask)
        h = dropout(nn.relu(Linear(self.post_dim, name="linear")(h)))
        pred = Linear(self.spec.num_outputs, name="out")(h)
        return {"pred": self.squeeze_single(pred), **out}

    def _features(self, batch: Batch, out: Outputs) -> jax.Array:
        """The utterances' features side by side: [B, U, D]; those of words are an output too."""
        if not self.spec.vocabulary:
            return turns.features(batch, self.spec.modalities)
        sizes = (self.word_dim, self.filters, self.kernel_sizes, self.word_features)
        words = WordCNN(self.spec.vocabulary, *sizes, name="words")(batch["text_ids"])
        out["words"] = jnp.where(batch["utterance_mask"][..., None], words, 0)
        names = ("text", *(m for m in self.spec.modalities if m != "text"))
        return turns.features({**batch, "text": out["words"]}, names)


class WordCNN(nn.Module):
    """Features of an utterance from its words: convolutions of several widths, their largest values, a layer.

    As the reference's CNNFeatureExtractor, which sees the padding too (word 0): no
    convolution pads, so an utterance has at least as many words as the widest kernel.

    Attributes:
      words: size of the vocabulary.
      dim: width of the embeddings.
      filters: of each kernel size.
      kernel_sizes: in words.
      features: width of the result.
    """

    words: int
    dim: int
    filters: int
    kernel_sizes: tuple[int, ...]
    features: int

    @nn.compact
    def __call__(self, ids: jax.Array) -> jax.Array:
        """[B, U, W] int32 -> [B, U, features]."""
        chex.assert_rank(ids, 3)
        x = Embed(self.words, self.dim, name="embed")(ids)
        x = x.reshape(-1, *x.shape[2:])  # [B U, W, D]
        short = max(self.kernel_sizes) - x.shape[1]
        x = jnp.pad(x, ((0, 0), (0, max(0, short)), (0, 0)))
        found = []
        for i, size in enumerate(self.kernel_sizes):
            init = uniform(self.dim * size)
            conv = nn.Conv(
                *(self.filters, (size,)),
                padding="VALID",
                kernel_init=init,
                bias_init=init,
                name=f"conv_{i}",
            )
            found.append(jnp.max(nn.relu(conv(x)), axis=1))
        h = nn.relu(Linear(self.features, name="linear")(jnp.concatenate(found, -1)))
        return h.reshape(*ids.shape[:2], -1)
