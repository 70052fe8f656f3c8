"""Text alone: a pretrained encoder, pooled, and a linear head.

Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers for
Language Understanding", NAACL 2019, section 4, which takes the first token;
the mean over the real tokens is the default here.
"""

from typing import Annotated, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from annotated_types import Ge

from msajax import losses, parallel
from msajax.encoders import Encoder
from msajax.encoders.steps import make_encoder, own_states, own_steps, text_vector
from msajax.models.base import Batch, Model, Outputs
from msajax.nn.attention import masked_softmax
from msajax.nn.dropout import Dropout
from msajax.nn.linear import Linear
from msajax.nn.pooling import mean_pool

_CHOICES = {"pooling": ("cls", "mean", "attention")}


class TextOnly(Model):
    """Text encoder, pooling and head.

    Attributes:
      encoder: the network that reads word pieces, from config.text; None takes
        the text features of the data.
      pooling: 'mean' of the utterance's own real tokens, or 'cls', the encoder's vector of the
        sequence (features: the first step, which is not that of a frozen XLNet: take
        'mean' for it).
        'attention' is a mean whose weights are a softmax over a linear layer.
      dropout: dropout rate before the head.
      r_drop: weight of the difference between two passes with other dropout masks, in
        training (Liang et al., "R-Drop", NeurIPS 2021): the squared difference of two
        scores, of classes the mean of the Kullback-Leibler divergences both ways.
      remat: compute the activations of the encoder's layers again in the backward
        pass: less memory.
      scan: compile one layer of the encoder for all.
    """

    encoder: Encoder | None = None
    pooling: str = "mean"
    dropout: float = 0.1
    r_drop: Annotated[float, Ge(0)] = 0.0
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
            return batch["text"][:, 0] if cls else self._mean(batch["text"], mask)
        settings = dict(remat=self.remat, scan=self.scan)
        encoder: Any = make_encoder(self.encoder, pooler=cls, **settings)
        encoded = encoder(
            batch["text_ids"], mask=mask, segments=batch["text_type"], train=train
        )
        if cls:
            return text_vector(encoded, batch)
        own = own_steps(batch)["text_mask"]
        return self._mean(own_states(encoded.last, batch), own)

    def _mean(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        """The mean of real steps, or the weighted one: [B, L, D], [B, L] bool -> [B, D]."""
        if self.pooling != "attention":
            return mean_pool(x, mask)
        scores = Linear(1, name="pool")(x)[..., 0].astype(jnp.float32)  # [B, L]
        weights = masked_softmax(scores, mask)
        self.sow("intermediates", "attention", weights)
        return jnp.einsum("bl,bld->bd", weights.astype(x.dtype), x)

    def loss(
        self, batch: Batch, *, train: bool, progress: dict[str, jax.Array]
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The task's loss; in training with R-Drop its mean over two passes, and their difference."""
        loss, terms = super().loss(batch, train=train, progress=progress)
        if not (train and self.r_drop):
            return loss, terms
        again, other = super().loss(batch, train=train, progress=progress)
        p, q = terms["pred"], other["pred"]
        if self.spec.classes:
            apart = (losses.softmax_kl(p, q) + losses.softmax_kl(q, p)) / 2
        else:
            apart = losses.mse(p, q)
        difference = parallel.batch_mean(apart, where=batch["valid"])
        total = (loss + again) / 2 + self.r_drop * difference
        return total, {"pred": p, "difference": difference}
