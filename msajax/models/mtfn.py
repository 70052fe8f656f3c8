"""MTFN: TFN that also predicts each modality's own label, from its embedding.

Yu et al., "CH-SIMS: A Chinese Multimodal Sentiment Analysis Dataset with Fine-grained
Annotation of Modality", ACL 2020; the form and the defaults (CH-SIMS) are thuiar/MMSA's.
Unlike in MMSA, the logged losses of the modalities are those on their own labels (its
trainer scores them against the label of all), and rows without a modality have no part in
the loss on its label. MMSA squashes the prediction into (-3, 3), though
the labels of its data lie in [-1, 1]; here it goes into the range of the data's labels.
"""

import flax.linen as nn
import jax

from msajax.models.base import Batch, Model, Outputs
from msajax.nn.fusion import tensor_product
from msajax.nn.subnets import Subnets, modality_predictions, post_layers


class MTFN(Model):
    """Multi-task tensor fusion.

    Attributes:
      hidden_dims: widths of the text, audio and vision subnetworks.
      text_out: width of the text embedding.
      post_dims: widths of the layers behind the embeddings of text, audio and vision.
      post_fusion_dim: width of the two layers after the fusion.
      audio_dropout, vision_dropout: dropout rates of the subnetworks' inputs.
      post_dropouts: dropout rates of the embeddings, before the next layers.
      post_fusion_dropout: dropout rate of the fusion tensor.
      output_range: a regression's output lies between these two; () takes the range of
        the data's labels, (-3, 3) is MMSA's on all data. Those of the modalities are
        linear.
      weights: weights of the losses on the label of all modalities, and on those of
        text, audio and vision; the data may lack a label whose weight is 0.
      padded: as MMSA, average over the padded length and run the LSTM over the
        padding.

    Raises:
      ValueError: an output range that is not two numbers.
    """

    hidden_dims: tuple[int, int, int] = (256, 32, 256)
    text_out: int = 256
    post_dims: tuple[int, int, int] = (64, 4, 8)
    post_fusion_dim: int = 64
    audio_dropout: float = 0.2
    vision_dropout: float = 0.2
    post_dropouts: tuple[float, float, float] = (0.2, 0.2, 0.2)
    post_fusion_dropout: float = 0.2
    output_range: tuple[float, ...] = ()
    weights: tuple[float, float, float, float] = (0.6, 0.4, 0.0, 1.0)
    padded: bool = False

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Predictions, also of each modality alone; the embeddings and their fusion tensor, flat."""
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
            low, high = self._range
            pred = low + (high - low) * nn.sigmoid(pred)
        return {"pred": pred, **own, **embeddings, "fusion": fusion}

    def loss(
        self, batch: Batch, *, train: bool, progress: dict[str, jax.Array]
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The weighted losses on all labels, in evaluation too."""
        del progress
        return self.loss_of_tasks(self(batch, train=train), batch, self.weights)

    @property
    def _range(self) -> tuple[float, ...]:
        """What the sigmoid fills."""
        found = self.output_range or self.spec.label_range or ()
        if len(found) != 2:
            raise ValueError(
                f"config.model.output_range is {found}; give the lowest and the highest "
                "prediction, or () to take the range of the data's labels"
            )
        return found
