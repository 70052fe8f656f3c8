"""LMF: TFN's fusion by low-rank factors, without the tensor.

Liu et al., "Efficient Low-rank Multimodal Fusion With Modality-Specific
Factors", ACL 2018; the form and the defaults (CMU-MOSI) are thuiar/MMSA's.
Unlike the paper's equation 8, the rank-one terms are summed with learned
weights, as in the authors' code.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from msajax.data.spec import MODALITIES
from msajax.models.base import Batch, Model, Outputs
from msajax.nn.subnets import Subnets


class LMF(Model):
    """Low-rank Multimodal Fusion.

    Attributes:
      hidden_dims: widths of the text, audio and vision subnetworks; the text
        embedding is half as wide as its LSTM.
      rank: number of rank-one terms r.
      audio_dropout, vision_dropout: of the subnetworks' inputs. (MMSA's dropout
        after the fusion is defined there, but never used.)
      padded: as MMSA, average over the padded length and run the LSTM over the
        padding.
    """

    hidden_dims: tuple[int, int, int] = (128, 16, 128)
    rank: int = 3
    audio_dropout: float = 0.3
    vision_dropout: float = 0.3
    padded: bool = False

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Predictions; also text, audio and vision embeddings and the rank-one terms."""
        embeddings = Subnets(
            hidden_dims=self.hidden_dims,
            text_out=self.hidden_dims[0] // 2,
            audio_dropout=self.audio_dropout,
            vision_dropout=self.vision_dropout,
            padded=self.padded,
            name="subnets",
        )(batch, train=train)

        # Low-rank fusion (equation 8): a product of three projections per term
        text, audio, vision = (self._project(m, embeddings[m]) for m in MODALITIES)
        terms = text * audio * vision
        weights = self.param("fusion_weights", _xavier_normal, (1, self.rank))
        bias = self.param(
            "fusion_bias", nn.initializers.zeros, (1, self.spec.num_outputs)
        )
        pred = jnp.einsum("r,brc->bc", weights[0], terms) + bias
        if not self.spec.classes:
            terms = terms[..., 0]
        return {"pred": self.squeeze_single(pred), **embeddings, "fusion": terms}

    def _project(self, modality: str, x: jax.Array) -> jax.Array:
        """[1; x] times the modality's factor [r, 1 + D, C]: [B, D] -> [B, r, C]."""
        shape = (self.rank, 1 + x.shape[-1], self.spec.num_outputs)
        factor = self.param(f"{modality}_factor", _xavier_normal, shape)
        one, rest = factor[:, 0], factor[:, 1:]
        return one[None] + jnp.einsum("bd,rdc->brc", x, rest)


# As torch.nn.init.xavier_normal_ counts the fans of [r, 1 + D, C] (and [1, r]).
_xavier_normal = nn.initializers.variance_scaling(
    1.0, "fan_avg", "normal", in_axis=1, out_axis=0
)
