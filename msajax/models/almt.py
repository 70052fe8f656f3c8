"""ALMT: text guides what audio and vision add to a hyper-modality that makes the prediction.

Zhang et al., "Learning Language-guided Adaptive Hyper-modality Representation for
Multimodal Sentiment Analysis", EMNLP 2023; the network is that of the authors' code,
as are the defaults (CMU-MOSI). Unlike in their code, padding is not attended to; `padded`
restores that. What does not reach the prediction there is not computed: the steps
behind the tokens, and the target of the fusion (see `TokenFusion`).
"""

import flax.linen as nn
import jax

from msajax.data.spec import MODALITIES
from msajax.encoders import Encoder
from msajax.encoders.steps import make_encoder, text_steps
from msajax.models.base import Batch, Model, Outputs
from msajax.nn.ahl import AHL
from msajax.nn.linear import Linear
from msajax.nn.masks import step_masks
from msajax.nn.token_transformer import TokenFusion, TokenTransformer


class ALMT(Model):
    """Adaptive Language-guided Multimodal Transformer.

    Attributes:
      encoder: the network that reads word pieces, from config.text; None takes the
        text features of the data.
      dim: common width d.
      tokens: T, to which each modality is reduced.
      head_dim: width of each head, but for AHL's.
      embedding_layers, embedding_heads, embedding_mlp_dim: layers, heads and
        feed-forward width of the Transformers that reduce each modality to its tokens.
      text_heads, text_mlp_dim: heads and feed-forward width of the layers that make the
        text's further scales.
      ahl_layers, ahl_heads, ahl_head_dim: layers, heads and width of a head of the
        hyper-modality learning.
      fusion_layers, fusion_heads, fusion_mlp_dim: layers, heads and feed-forward width
        of the fusion.
      padded: attend to padding too.
      remat, scan: options of the encoder's layers, as in `TextOnly`.
    """

    criterion: str = "mse"
    encoder: Encoder | None = None
    dim: int = 128
    tokens: int = 8
    head_dim: int = 64
    embedding_layers: int = 1
    embedding_heads: int = 8
    embedding_mlp_dim: int = 128
    text_heads: int = 8
    text_mlp_dim: int = 128
    ahl_layers: int = 3
    ahl_heads: int = 8
    ahl_head_dim: int = 16
    fusion_layers: int = 2
    fusion_heads: int = 8
    fusion_mlp_dim: int = 128
    padded: bool = False
    remat: bool = False
    scan: bool = False

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Predictions.

        Args:
          batch: as in `Model`.
          train: as in `Model`.

        Returns:
          'pred'; 'text', 'audio', 'vision': the tokens [B, tokens, dim]; 'hyper': the
          hyper-modality [B, tokens, dim]; 'fusion' [B, dim].
        """
        # Modality embedding (section 3.2)
        encoder = make_encoder(self.encoder, remat=self.remat, scan=self.scan)
        x = text_steps(encoder, batch, train=train)
        masks = dict(zip(MODALITIES, step_masks(x, padded=self.padded), strict=True))
        h = {m: self._embed(m, x[m], masks[m]) for m in MODALITIES}

        # Adaptive hyper-modality learning (section 3.3)
        hyper, _ = AHL(
            layers=self.ahl_layers,
            heads=self.ahl_heads,
            head_dim=self.ahl_head_dim,
            text_heads=self.text_heads,
            text_head_dim=self.head_dim,
            mlp_dim=self.text_mlp_dim,
            name="ahl",
        )(*h.values())

        # Multimodal fusion and output (section 3.4)
        fusion = TokenFusion(
            self.fusion_layers,
            heads=self.fusion_heads,
            mlp_dim=self.fusion_mlp_dim,
            head_dim=self.head_dim,
            name="fusion",
        )(hyper)
        pred = Linear(self.spec.num_outputs, name="head")(fusion)
        return {
            "pred": self.squeeze_single(pred),
            **h,
            "hyper": hyper,
            "fusion": fusion,
        }

    def _embed(self, modality: str, x: jax.Array, mask: jax.Array) -> jax.Array:
        """The tokens of a modality: [B, L, Dm], [B, L] -> [B, tokens, dim]."""
        transformer = TokenTransformer(
            self.tokens,
            self.spec.lengths[MODALITIES.index(modality)],
            layers=self.embedding_layers,
            heads=self.embedding_heads,
            mlp_dim=self.embedding_mlp_dim,
            head_dim=self.head_dim,
            name=f"embed_{modality}",
        )
        return transformer(Linear(self.dim, name=f"project_{modality}")(x), mask)
