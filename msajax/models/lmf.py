"""LMF: TFN's fusion by low-rank factors, without the tensor.

Liu et al., "Efficient Low-rank Multimodal Fusion With Modality-Specific
Factors", ACL 2018; the form and the defaults (CMU-MOSI) are thuiar/MMSA's.
Unlike the paper's equation 8, the rank-one terms are summed with learned
weights, as in the authors' code.
"""

import flax.linen as nn

from msajax.models.base import Batch, Model, Outputs
from msajax.nn.fusion import LowRank
from msajax.nn.subnets import Subnets


class LMF(Model):
    """Low-rank Multimodal Fusion.

    Attributes:
      hidden_dims: widths of the text, audio and vision subnetworks; the text
        embedding is half as wide as its LSTM.
      rank: number of rank-one terms r.
      audio_dropout, vision_dropout: dropout rates of the subnetworks' inputs. (MMSA's
        dropout after the fusion is defined there, but never used.)
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

        low_rank = LowRank(self.rank, self.spec.num_outputs)
        nn.share_scope(self, low_rank)  # its parameters are ours, by their names
        pred, terms = low_rank(embeddings)
        if not self.spec.classes:
            terms = terms[..., 0]
        return {"pred": self.squeeze_single(pred), **embeddings, "fusion": terms}
