"""MLMF: LMF that also predicts each modality's own label, from its embedding.

Yu et al., "CH-SIMS: A Chinese Multimodal Sentiment Analysis Dataset with Fine-grained
Annotation of Modality", ACL 2020; the form and the defaults (CH-SIMS) are thuiar/MMSA's.
Unlike in MMSA, the logged losses of the modalities are those on their own labels (its
trainer scores them against the label of all), and rows without a modality have no part in
the loss on its label. MMSA's optimizer has the learning rate 0 for
the weights and the bias of the rank-one terms, so they stay as they start; here they are
trained, and the row `frozen_fusion` of the recipe leaves them.
"""

import flax.linen as nn
import jax

from msajax.models.base import Batch, Model, Outputs
from msajax.nn.fusion import LowRank
from msajax.nn.subnets import Subnets, modality_predictions


class MLMF(Model):
    """Multi-task low-rank fusion.

    Attributes:
      hidden_dims: widths of the text, audio and vision subnetworks; the text
        embedding is half as wide as its LSTM.
      post_dims: widths of the layers behind the embeddings of text, audio and vision.
      rank: number of rank-one terms r.
      audio_dropout, vision_dropout: dropout rates of the subnetworks' inputs.
      post_dropouts: dropout rates of the embeddings, before the next layers.
      weights: weights of the losses on the label of all modalities, and on those of
        text, audio and vision; the data may lack a label whose weight is 0.
      padded: as MMSA, average over the padded length and run the LSTM over the
        padding.
    """

    hidden_dims: tuple[int, int, int] = (256, 32, 256)
    post_dims: tuple[int, int, int] = (8, 4, 32)
    rank: int = 3
    audio_dropout: float = 0.3
    vision_dropout: float = 0.3
    post_dropouts: tuple[float, float, float] = (0.4, 0.4, 0.4)
    weights: tuple[float, float, float, float] = (0.2, 1.0, 0.4, 0.8)
    padded: bool = False

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Predictions, also of each modality alone; the embeddings and the rank-one terms."""
        tasks = self.own_tasks(self.weights)
        embeddings = Subnets(
            hidden_dims=self.hidden_dims,
            text_out=self.hidden_dims[0] // 2,
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
        low_rank = LowRank(self.rank, self.spec.num_outputs)
        nn.share_scope(self, low_rank)  # its parameters are ours, by their names
        pred, terms = low_rank(embeddings)
        if not self.spec.classes:
            terms = terms[..., 0]
        pred = self.squeeze_single(pred)
        return {"pred": pred, **own, **embeddings, "fusion": terms}

    def loss(
        self, batch: Batch, *, train: bool, progress: dict[str, jax.Array]
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The weighted losses on all labels, in evaluation too."""
        del progress
        return self.loss_of_tasks(self(batch, train=train), batch, self.weights)
