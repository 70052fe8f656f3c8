"""LF-DNN: late fusion, a feed-forward network on the joined embeddings.

Cambria et al., "Benchmarking Multimodal Sentiment Analysis", CICLing 2017, and
Williams et al., "Recognizing Emotions in Video Using Multimodal DNN Feature
Fusion", ACL workshop 2018, in the form that thuiar/MMSA made the field's
baseline: TFN's subnetworks in front. The defaults (CMU-MOSI) are MMSA's.
"""

import flax.linen as nn

from msajax.models.base import Batch, Model, Outputs
from msajax.nn.fusion import join
from msajax.nn.subnets import Subnets, post_layers


class LFDNN(Model):
    """Late Fusion Deep Neural Network.

    Attributes:
      hidden_dims: widths of the text, audio and vision subnetworks.
      text_out: width of the text embedding.
      post_fusion_dim: width of the two layers after the fusion.
      audio_dropout, vision_dropout: dropout rates of the subnetworks' inputs.
      post_fusion_dropout: dropout rate of the joined embeddings.
      padded: as MMSA, average over the padded length and run the LSTM over the
        padding.
    """

    hidden_dims: tuple[int, int, int] = (128, 16, 128)
    text_out: int = 256
    post_fusion_dim: int = 128
    audio_dropout: float = 0.2
    vision_dropout: float = 0.2
    post_fusion_dropout: float = 0.2
    padded: bool = False

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Predictions; also text, audio and vision embeddings and all three joined."""
        embeddings = Subnets(
            hidden_dims=self.hidden_dims,
            text_out=self.text_out,
            audio_dropout=self.audio_dropout,
            vision_dropout=self.vision_dropout,
            padded=self.padded,
            name="subnets",
        )(batch, train=train)

        fusion = join(embeddings)
        pred = post_layers(
            fusion,
            self.post_fusion_dim,
            self.spec.num_outputs,
            name="post_fusion",
            dropout=self.post_fusion_dropout,
            train=train,
        )
        return {"pred": self.squeeze_single(pred), **embeddings, "fusion": fusion}
