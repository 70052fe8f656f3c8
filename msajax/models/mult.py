"""MulT: each modality attends to the two others, aligned or not.

Tsai et al., "Multimodal Transformer for Unaligned Multimodal Language
Sequences", ACL 2019; the defaults are those of the authors' main.py. Unlike
their code, every sample is computed as if it stood alone: padding is not
attended to, the causal diagonal follows the true lengths, the last real step
makes the prediction, and every real step has a position. `padded` and
`fairseq_zero_pos` restore the authors' form; thuiar/MMSA's is `padded` without
`position_embedding`.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from msajax.data.spec import MODALITIES
from msajax.models.base import Batch, Model, Outputs
from msajax.nn.align import align
from msajax.nn.convolution import TemporalConvolution
from msajax.nn.dropout import Dropout
from msajax.nn.linear import Linear
from msajax.nn.masks import step_masks
from msajax.nn.pooling import last_step
from msajax.nn.transformer import CrossmodalEncoder


class MulT(Model):
    """Multimodal Transformer.

    Attributes:
      dim: common width d of the modalities.
      heads: of every attention.
      layers: crossmodal layers D; the encoders on top have at least three.
      kernel_sizes: of the temporal convolutions of text, audio and vision.
      causal: hide later keys (the authors' attn_mask).
      position_embedding: add sinusoidal position vectors.
      align: pool audio and vision to the text's steps first: aligned MulT on
        data that has no aligned file.
      text_dropout: of the text features.
      attention_dropouts: of attention weights, where the keys are text (and in
        the encoders on top), audio, vision.
      relu_dropout, residual_dropout, embed_dropout: of the encoders.
      output_dropout: before the output.
      padded: take padding for real steps.
      fairseq_zero_pos: no position vector where feature 0 is exactly 0.
      remat: compute the activations of a layer again in the backward pass: less
        memory, and on a CPU no slower.
    """

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

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Predictions; also the last step of text, audio and vision, and all three joined."""
        z, masks = self._project(batch, train)
        dropouts: dict[str, float] = dict(
            zip(MODALITIES, self.attention_dropouts, strict=True)
        )

        def attend(target: str, source: str) -> jax.Array:
            encoder = self._encoder(
                f"{source}_to_{target}", self.layers, dropouts[source]
            )
            return encoder(
                z[target],
                z[source],
                mask=masks[target],
                source_mask=masks[source],
                train=train,
            )

        last = {}
        for target in MODALITIES:
            # Crossmodal Transformers (section 3.2) from both others to this one ...
            others = [m for m in MODALITIES if m != target]
            h = jnp.concatenate([attend(target, m) for m in others], axis=-1)
            # ... and one of self-attention over them, whose last step predicts
            memory = self._encoder(
                f"{target}_memory", max(self.layers, 3), dropouts["text"]
            )
            h = memory(h, mask=masks[target], train=train)
            last[target] = last_step(h, masks[target])

        fusion = jnp.concatenate([last[m] for m in MODALITIES], axis=-1)
        h = nn.relu(Linear(fusion.shape[-1], name="proj1")(fusion))
        h = Dropout(self.output_dropout)(h, deterministic=not train)
        h = fusion + Linear(fusion.shape[-1], name="proj2")(h)
        pred = Linear(self.spec.num_outputs, name="out")(h)
        return {"pred": self.shaped(pred), **last, "fusion": fusion}

    def _project(
        self, batch: Batch, train: bool
    ) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
        """Temporal convolutions (section 3.1): [B, L, dim] and [B, L] masks by modality."""
        x: dict[str, jax.Array] = {m: batch[m] for m in MODALITIES}
        masks: dict[str, jax.Array] = dict(
            zip(MODALITIES, step_masks(batch, padded=self.padded), strict=True)
        )
        if self.align:
            for modality in ("audio", "vision"):
                x[modality], masks[modality] = align(
                    x[modality], masks[modality], masks["text"]
                )
        x["text"] = Dropout(self.text_dropout)(x["text"], deterministic=not train)
        for modality, size in zip(MODALITIES, self.kernel_sizes, strict=True):
            # As the authors: features of the common width are left as they are.
            if x[modality].shape[-1] != self.dim:
                x[modality], masks[modality] = TemporalConvolution(
                    self.dim, size, name=f"{modality}_projection"
                )(x[modality], masks[modality])
        return x, masks

    def _encoder(self, name: str, layers: int, dropout: float) -> CrossmodalEncoder:
        return CrossmodalEncoder(
            heads=self.heads,
            layers=layers,
            causal=self.causal,
            position_embedding=self.position_embedding,
            fairseq_zero_pos=self.fairseq_zero_pos,
            attention_dropout=dropout,
            relu_dropout=self.relu_dropout,
            residual_dropout=self.residual_dropout,
            embed_dropout=self.embed_dropout,
            remat=self.remat,
            name=name,
        )
