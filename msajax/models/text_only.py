"""Text alone: a pretrained encoder, pooled, and a linear head.

Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers for
Language Understanding", NAACL 2019, section 4, which takes the first token;
the mean over the real tokens is the default here.
"""

import flax.linen as nn
import jax

from msajax.encoders import Encoder
from msajax.models.base import Batch, Model, Outputs
from msajax.nn.dropout import Dropout
from msajax.nn.linear import Linear
from msajax.nn.pooling import mean_pool

_CHOICES = {"pooling": ("cls", "mean")}


class TextOnly(Model):
    """Text encoder, pooling and head.

    Attributes:
      encoder: the network that reads word pieces, from config.text; None takes
        the text features of the data.
      pooling: 'mean' of the utterance's own real tokens, or 'cls', the encoder's vector of the
        sequence (features: the first step, which is not that of a frozen XLNet: take
        'mean' for it).
      dropout: dropout rate before the head.
      remat: compute the activations of the encoder's layers again in the backward
        pass: less memory.
      scan: compile one layer of the encoder for all.
    """

    encoder: Encoder | None = None
    pooling: str = "mean"
    dropout: float = 0.1
    remat: bool = False
    scan: bool = False

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Predictions; also the pooled text."""
        self.check_choices(_CHOICES)
        text = self._pooled(batch, train)
        h = Dropout(self.dropout)(text, deterministic=not train)
        pred = Linear(self.spec.num_outputs, name="head")(h)
        return {"pred": self.squeeze_single(pred), "text": text}

    def _pooled(self, batch: Batch, train: bool) -> jax.Array:
        """The text as one vector: [B, D]."""
        cls, mask = self.pooling == "cls", batch["text_mask"]
        if self.encoder is None:
            return batch["text"][:, 0] if cls else mean_pool(batch["text"], mask)
        settings = dict(dtype=None, remat=self.remat, scan=self.scan)
        encoded = self.encoder.encoder(pooler=cls, **settings, name="encoder")(
            batch["text_ids"], mask=mask, segments=batch["text_type"], train=train
        )
        if encoded.pooled is not None:
            return encoded.pooled
        return mean_pool(encoded.last, batch.get("text_own", mask))
