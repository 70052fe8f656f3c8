"""TFN: the outer product of the three modalities' embeddings.

Zadeh et al., "Tensor Fusion Network for Multimodal Sentiment Analysis", EMNLP
2017; the form and the defaults (CMU-MOSI) are thuiar/MMSA's. Unlike the paper:
ReLU layers of one width after the fusion, and a batch norm in front of the
audio and vision subnetworks.
"""

import flax.linen as nn

from msajax.models.base import Batch, Model, Outputs
from msajax.nn.fusion import tensor_product
from msajax.nn.subnets import Subnets, post_layers


class TFN(Model):
    """Tensor Fusion Network.

    Attributes:
      hidden_dims: widths of the text, audio and vision subnetworks.
      text_out: width of the text embedding.
      post_fusion_dim: width of the two layers after the fusion.
      audio_dropout, vision_dropout: dropout rates of the subnetworks' inputs.
      post_fusion_dropout: dropout rate of the fusion tensor.
      output_range: a regression's output lies between these two; (-3, 3) also
        on CH-SIMS, as in MMSA.
      padded: as MMSA, average over the padded length and run the LSTM over the
        padding.
    """

    hidden_dims: tuple[int, int, int] = (128, 32, 128)
    text_out: int = 32
    post_fusion_dim: int = 64
    audio_dropout: float = 0.3
    vision_dropout: float = 0.3
    post_fusion_dropout: float = 0.5
    output_range: tuple[float, float] = (-3.0, 3.0)
    padded: bool = False

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Predictions; also text, audio and vision embeddings and their fusion tensor, flat."""
        # Modality embedding subnetworks (section 4.1)
        embeddings = Subnets(
            hidden_dims=self.hidden_dims,
            text_out=self.text_out,
            audio_dropout=self.audio_dropout,
            vision_dropout=self.vision_dropout,
            padded=self.padded,
            name="subnets",
        )(batch, train=train)

        # Tensor fusion (section 4.2) and sentiment inference subnetwork (section 4.3)
        fusion = tensor_product(embeddings)
        pred = post_layers(
            fusion,
            self.post_fusion_dim,
            self.spec.num_outputs,
            name="post_fusion",
            dropout=self.post_fusion_dropout,
            train=train,
        )
        pred = self.squeeze_single(pred)
        if not self.spec.classes:
            low, high = self.output_range
            pred = low + (high - low) * nn.sigmoid(pred)
        return {"pred": pred, **embeddings, "fusion": fusion}
