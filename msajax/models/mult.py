"""MulT: each modality attends to the two others, aligned or not.

Tsai et al., "Multimodal Transformer for Unaligned Multimodal Language
Sequences", ACL 2019; the defaults are those of the authors' main.py. Unlike
their code, every sample is computed as if it stood alone: padding is not
attended to, the causal diagonal follows the true lengths, the last real step
makes the prediction, and every real step has a position. `padded` and
`fairseq_zero_pos` restore the authors' form; thuiar/MMSA's is `padded` without
`position_embedding`.
"""

from typing import ClassVar

import flax.linen as nn
import jax

from msajax.data.spec import MODALITIES
from msajax.models.base import Batch, Model, Outputs
from msajax.nn.align import align
from msajax.nn.masks import step_masks
from msajax.nn.mult import MultimodalTransformer


class MulT(Model):
    """Multimodal Transformer.

    Attributes:
      dim: common width d of the modalities, and that of the vectors of words where the text
        is words (config.text.vocabulary).
      heads: number of heads of every attention.
      layers: crossmodal layers D; the encoders on top have at least three.
      kernel_sizes: kernel sizes of the temporal convolutions of text, audio and vision.
      causal: hide later keys (the authors' attn_mask).
      position_embedding: add sinusoidal position vectors.
      align: pool audio and vision to the text's steps first: aligned MulT on
        data that has no aligned file.
      text_dropout: dropout rate of the text features.
      attention_dropouts: dropout rates of attention weights, where the keys are text
        (and in the encoders on top), audio, vision.
      relu_dropout, residual_dropout, embed_dropout: dropout rates in the encoders:
        inside the feed-forward blocks, before the residual sums, and on the inputs.
      output_dropout: dropout rate before the output.
      padded: take padding for real steps.
      fairseq_zero_pos: no position vector where feature 0 is exactly 0.
      remat: compute the activations of a layer again in the backward pass: less
        memory, and on a CPU no slower.
    """

    own_words: ClassVar[bool] = True

    dim: int = 30
    heads: int = 5
    layers: int = 5
    kernel_sizes: tuple[int, int, int] = (1, 1, 1)
    causal: bool = True
    position_embedding: bool = True
    align: bool = False
    text_dropout: float = 0.25
    attention_dropouts: tuple[float, float, float] = (0.1, 0.0, 0.0)
    relu_dropout: float = 0.1
    residual_dropout: float = 0.1
    embed_dropout: float = 0.25
    output_dropout: float = 0.0
    padded: bool = False
    fairseq_zero_pos: bool = False
    remat: bool = True

    def setup(self):
        """Makes the network, whose parameters are named as the system's own."""
        words = dict(words=self.spec.vocabulary, word_dim=self.dim)
        self.network = MultimodalTransformer.of(self, self.spec.num_outputs, **words)
        nn.share_scope(self, self.network)

    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Predictions; also the last step of text, audio and vision, and all three joined."""
        text = "text_ids" if self.spec.vocabulary else "text"
        x = {m: batch[text if m == "text" else m] for m in MODALITIES}
        steps = step_masks(batch, padded=self.padded)
        masks: dict[str, jax.Array] = dict(zip(MODALITIES, steps, strict=True))
        if self.align:
            for m in ("audio", "vision"):
                x[m], masks[m] = align(x[m], masks[m], masks["text"])
        made = self.network(x, masks, train=train)
        return {"pred": self.squeeze_single(made.pop("out")), **made}
