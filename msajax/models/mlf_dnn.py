"""MLF-DNN: LF-DNN that also predicts each modality's own label, from its embedding.

Yu et al., "CH-SIMS: A Chinese Multimodal Sentiment Analysis Dataset with Fine-grained
Annotation of Modality", ACL 2020; the form and the defaults (CH-SIMS) are thuiar/MMSA's.
Unlike in MMSA, the logged losses of the modalities are those on their own labels (its
trainer scores them against the label of all), and rows without a modality have no part in
the loss on its label.
"""

import flax.linen as nn
import jax

from msajax.models.base import Batch, Model, Outputs
from msajax.nn.fusion import join
from msajax.nn.subnets import Subnets, modality_predictions, post_layers


class MLFDNN(Model):
    """Multi-task late fusion.

    Attributes:
      hidden_dims: widths of the text, audio and vision subnetworks.
      text_out: width of the text embedding.
      post_dims: widths of the layers behind the embeddings of text, audio and vision.
      post_fusion_dim: width of the two layers after the fusion.
      audio_dropout, vision_dropout: dropout rates of the subnetworks' inputs.
      post_dropouts: dropout rates of the embeddings, before the next layers.
      post_fusion_dropout: dropout rate of the joined embeddings.
      weights: weights of the losses on the label of all modalities, and on those of
        text, audio and vision; the data may lack a label whose weight is 0.
      padded: as MMSA, average over the padded length and run the LSTM over the
        padding.
    """

    hidden_dims: tuple[int, int, int] = (64, 32, 64)
    text_out: int = 32
    post_dims: tuple[int, int, int] = (16, 4, 32)
    post_fusion_dim: int = 32
    audio_dropout: float = 0.3
    vision_dropout: float = 0.3
    post_dropouts: tuple[float, float, float] = (0.5, 0.5, 0.5)
    post_fusion_dropout: float = 0.5
    weights: tuple[float, float, float, float] = (0.6, 0.2, 0.8, 0.8)
    padded: bool = False

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Predictions, also of each modality alone; the embeddings and all three joined."""
        tasks = self.own_tasks(self.weights)
        embeddings = Subnets(
            hidden_dims=self.hidden_dims,
            text_out=self.text_out,
            audio_dropout=self.audio_dropout,
            vision_dropout=self.vision_dropout,
            padded=self.padded,
            name="subnets",
        )(batch, train=train)
        own = modality_predictions(
            embeddings,
            tasks,
            self.post_dims,
            dropouts=self.post_dropouts,
            train=train,
        )
        fusion = join(embeddings)
        pred = post_layers(
            fusion,
            self.post_fusion_dim,
            self.spec.num_outputs,
            name="post_fusion",
            dropout=self.post_fusion_dropout,
            train=train,
        )
        pred = self.squeeze_single(pred)
        return {"pred": pred, **own, **embeddings, "fusion": fusion}

    def loss(
        self, batch: Batch, *, train: bool, progress: dict[str, jax.Array]
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The weighted losses on all labels, in evaluation too."""
        del progress
        return self.loss_of_tasks(self(batch, train=train), batch, self.weights)
