"""CM-BERT: audio adjusts how the last layer of BERT attends to the text.

Yang, Xu and Gao, "CM-BERT: Cross-Modal BERT for Text-Audio Sentiment Analysis", ACM MM
2020; vision is not read. Three faults of the authors' code are no defaults. Its text is
scaled by a norm of the whole batch, padding too, through which no gradient flows
(`scale="batch"`). Its audio at [CLS] can be zeros, and then audio changes nothing at all,
as [CLS] alone is read (`cls_audio="own"`). Its last layer is never trained (row
`frozen_classifier` of the recipe). Their bias of the scores is left out, since a softmax
does not see it.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from msajax import parallel
from msajax.encoders import Encoder
from msajax.encoders.steps import make_encoder, text_steps
from msajax.encoders.summary import summary_steps
from msajax.models.base import Batch, Model, Outputs
from msajax.nn.adjustment import adjust, similarity
from msajax.nn.align import to_text
from msajax.nn.convolution import TemporalConvolution
from msajax.nn.dropout import Dropout
from msajax.nn.linear import Linear
from msajax.nn.norm import LayerNorm, l2_norm
from msajax.nn.pooling import mean_pool

_CHOICES = {
    "scale": ("sample", "batch"),
    "cls_audio": ("mean", "own"),
    "pooling": ("cls", "mean"),
}


class CMBert(Model):
    """Cross-Modal BERT.

    Attributes:
      criterion: as in `Model`; the authors' is half of the squared error.
      encoder: the network that reads word pieces, from config.text; None takes the text
        features of the data.
      align: pool audio to the text's steps; False where it has a row for each.
      dim: width of the projections whose products weigh the attention.
      scale: the norm that scales the text, of a 'sample', or of the global 'batch': then
        predictions depend on batch mates and on the padded length.
      cls_audio: audio at [CLS]: the 'mean' of the clip, or its 'own'.
      pooling: 'cls' reads [CLS], by `summary_steps`; 'mean' all, for text that has none.
      attention_dropout, dropout: dropout rates of the attention and of the next layers.
      remat, scan: options of the encoder's layers, as in `TextOnly`.
    """

    criterion: str = "mse"
    encoder: Encoder | None = None
    align: bool = False
    dim: int = 30
    scale: str = "sample"
    cls_audio: str = "mean"
    pooling: str = "cls"
    attention_dropout: float = 0.3
    dropout: float = 0.1
    remat: bool = False
    scan: bool = False

    @property
    def fixed_length(self) -> bool:
        """As in `Model`."""
        return self.scale == "batch"

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Predictions; 'fusion' [B, D], and the attention from step to step, [B, L, L]."""
        self.check_choices(_CHOICES)
        encoder = make_encoder(self.encoder, remat=self.remat, scan=self.scan)
        batch = text_steps(encoder, batch, train=train)
        text, mask = batch["text"], batch["text_mask"]
        (audio, real), _ = to_text(batch, self.spec.lengths, pool=self.align)
        cls = summary_steps(self.encoder, mask)
        if self.cls_audio == "mean" and (
            not self.encoder or self.encoder.summary != "mean"
        ):
            own = mean_pool(audio, real)[:, None]
            audio = jnp.where(cls[..., None], own, audio)
        settings = self.dim, self.scale, self.attention_dropout, self.dropout
        block = CrossModalAttention(*settings, name="attention")
        made = block(text, audio, mask, valid=batch["valid"], train=train)
        h, pool = made["hidden"], self.pooling == "mean"
        fusion = mean_pool(h, mask if pool else cls)
        h = Dropout(self.dropout)(fusion, deterministic=not train)
        pred = self.squeeze_single(Linear(self.spec.num_outputs, name="head")(h))
        return {"pred": pred, "fusion": fusion, "attention": made["attention"]}


class CrossModalAttention(nn.Module):
    """Masked multimodal attention; fields as in `CMBert`, and the LayerNorm's epsilon."""

    dim: int = 30
    scale: str = "sample"
    attention_dropout: float = 0.0
    dropout: float = 0.0
    epsilon: float = 1e-12

    @nn.compact
    def __call__(
        self,
        text: jax.Array,
        audio: jax.Array,
        mask: jax.Array,
        *,
        valid: jax.Array,
        train: bool,
    ) -> dict[str, jax.Array]:
        """Adjusts each step of the text.

        Args:
          text: [B, L, D].
          audio: [B, L, Da], aligned with the text.
          mask: [B, L] bool, real steps of the text.
          valid: [B] bool, the rows that the norm of a batch counts.
          train: apply dropout.

        Returns:
          'hidden' and 'fused', which it is made of, [B, L, D]; 'attention', 'scores' and
          'text_scores', [B, L, L] float32; 'projected' [B, L, dim], and the norm.
        """
        whole = self.scale == "batch"
        real = jnp.ones_like(mask) if whole else mask

        def project(name: str, x: jax.Array) -> jax.Array:
            name = f"{name}_convolution"
            convolution = TemporalConvolution(self.dim, 1, same=True, name=name)
            return convolution(x, real)[0].astype(jnp.float32)

        def products(name: str, x: jax.Array, norm: jax.Array) -> tuple[jax.Array, ...]:
            weight = self.param(f"{name}_weight", nn.initializers.ones, (1, 1, 1))
            products = nn.relu(similarity(x, norm))
            return products, weight * products

        x = project("text", text)
        norm = l2_norm(x, axis=(1, 2))
        if whole:
            squares = jnp.where(valid, jnp.sum(jnp.square(x), axis=(1, 2)), 0)
            norm = jnp.sqrt(parallel.batch_sum(squares))[None, None, None]
            norm = jax.lax.stop_gradient(norm)
        text_scores, scores = products("text", x, norm)
        ones = jnp.ones((1, 1, 1))
        scores += products("audio", project("audio", audio), ones)[1]
        dropouts = [
            Dropout(rate, deterministic=not train)
            for rate in (self.attention_dropout, self.dropout)
        ]
        fused, attention = adjust(text, scores, mask, dropouts[0])
        h = dropouts[1](Linear(text.shape[-1], name="dense")(fused))
        h = LayerNorm(epsilon=self.epsilon, name="norm")(h)
        made = dict(hidden=h, fused=fused, attention=attention, scores=scores)
        return made | dict(text_scores=text_scores, projected=x, norm=norm)
