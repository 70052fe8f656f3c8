"""DialogueRNN: states of the dialogue, of its speakers and of the emotion, read in both directions.

Majumder et al., "DialogueRNN: An Attentive RNN for Emotion Detection in Conversations",
AAAI 2019; the bidirectional model with attention over emotions, with the sizes (IEMOCAP) of
declare-lab/conv-emotion @ 6128ca2.
"""

from typing import Annotated, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from annotated_types import Gt

from msajax.models.base import Batch, Model, Outputs
from msajax.nn.dropout import Dropout
from msajax.nn.linear import Linear
from msajax.nn.parties import ATTENTIONS, both_directions
from msajax.nn.turns import MatchingAttention, features, reverse

Width = Annotated[int, Gt(0)]
# The reference drops more of the emotion's states than its option says.
_MORE = 0.15


class DialogueRNN(Model):
    """Bidirectional DialogueRNN, on the features of all modalities that the data has.

    Attributes:
      global_dim, party_dim: widths of the states of the dialogue and of each speaker.
      hidden: width of the emotion's state in each direction.
      context_attention: how a turn attends to the dialogue's earlier states, one of
        'simple', 'general', 'general2', 'concat' and 'dot'.
      attention_dim: width of the attention 'concat'.
      listener: those who do not speak change too, by a cell of their own.
      attention: each utterance attends to all of its dialogue.
      post_dim: width of the layer in front of the output.
      recurrent_dropout: dropout rate of new states; what the recurrences return has 0.15
        more.
      dropout: dropout rate in front of the output.
      padded: as the reference, run on over the padding; nothing real reads it.
    """

    view: ClassVar[str] = "dialogue"

    global_dim: Width = 500
    party_dim: Width = 500
    hidden: Width = 300
    context_attention: str = "general"
    attention_dim: Width = 100
    listener: bool = False
    attention: bool = True
    post_dim: Width = 600
    recurrent_dropout: float = 0.1
    dropout: float = 0.1
    padded: bool = False

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Predictions of all turns.

        Returns:
          'pred'; the emotion's states 'forward' and 'backward' [B, U, hidden], the last in the
          order of reading; 'context' [B, U, U], the attention to earlier turns (forward);
          'weights' [B, U, U], that to all turns.
        """
        self.check_choices({"context_attention": ATTENTIONS})
        mask, speaker = batch["utterance_mask"], batch["speaker"]
        forward, backward, context = both_directions(
            features(batch, self.spec.modalities),
            speaker,
            mask,
            parties=self.spec.speakers,
            train=train,
            global_dim=self.global_dim,
            party_dim=self.party_dim,
            hidden=self.hidden,
            attention=self.context_attention,
            attention_dim=self.attention_dim,
            squash=False,
            listener=self.listener,
            dropout=self.recurrent_dropout,
            padded=self.padded,
        )
        out: Outputs = {"forward": forward, "backward": backward, "context": context}
        rate = self.recurrent_dropout and self.recurrent_dropout + _MORE
        dropout = Dropout(rate, deterministic=not train)
        both = dropout(forward), dropout(reverse(backward, mask))
        h = jnp.concatenate(both, axis=-1)
        if self.attention:
            attention = MatchingAttention(squash=False, name="attention")
            h, out["weights"] = attention(h, mask)
        h = nn.relu(Linear(self.post_dim, name="linear")(h))
        h = Dropout(self.dropout)(h, deterministic=not train)
        pred = Linear(self.spec.num_outputs, name="out")(h)
        return {"pred": self.squeeze_single(pred), **out}
