"""MulT's network: each modality attends to the two others.

Tsai et al., "Multimodal Transformer for Unaligned Multimodal Language
Sequences", ACL 2019. CorMulT weighs what one modality has read from another.
"""

import dataclasses
from collections.abc import Mapping

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from msajax.nn.convolution import TemporalConvolution
from msajax.nn.dropout import Dropout
from msajax.nn.linear import Linear
from msajax.nn.masks import assert_steps
from msajax.nn.pooling import last_step
from msajax.nn.transformer import CrossmodalEncoder
from msajax.nn.words import WordEmbedding


class MultimodalTransformer(nn.Module):
    """From sequences to one vector of each modality, and to outputs.

    Attributes:
      outputs: width of the last layer.
      dim: common width d of the modalities.
      heads: number of heads of every attention.
      layers: crossmodal layers D; the encoders on top have at least three.
      kernel_sizes: kernel sizes of the temporal convolutions, in the order of the
        modalities.
      causal: hide later keys (the authors' attn_mask).
      position_embedding: add sinusoidal position vectors.
      text_dropout: dropout rate of the text features.
      attention_dropouts: dropout rates of attention weights by the modality of the
        keys; the encoders on top have the first.
      relu_dropout, residual_dropout, embed_dropout: dropout rates in the encoders:
        inside the feed-forward blocks, before the residual sums, and on the inputs.
      output_dropout: dropout rate before the output.
      words: ids of text that is numbers of words; 0 reads features.
      word_dim: width of their vectors.
      residual_head: the authors' residual block before the last layer.
      fairseq_zero_pos, counted_pos: quirks of references, see `msajax.nn.positions`.
      remat: compute the activations of a layer again in the backward pass.
    """

    outputs: int
    dim: int
    heads: int
    layers: int
    kernel_sizes: tuple[int, int, int] = (1, 1, 1)
    causal: bool = True
    position_embedding: bool = True
    text_dropout: float = 0.0
    attention_dropouts: tuple[float, float, float] = (0.0, 0.0, 0.0)
    relu_dropout: float = 0.0
    residual_dropout: float = 0.0
    embed_dropout: float = 0.0
    output_dropout: float = 0.0
    words: int = 0
    word_dim: int = 0
    residual_head: bool = True
    fairseq_zero_pos: bool = False
    counted_pos: bool = False
    remat: bool = True

    @classmethod
    def of(cls, system: nn.Module, outputs: int, **settings) -> "MultimodalTransformer":
        """The network of a system that has fields of the same names."""
        names = {f.name for f in dataclasses.fields(cls)} - {"parent", "name"}
        found = {n: getattr(system, n) for n in names if hasattr(system, n)}
        return cls(**{**found, "outputs": outputs, **settings})

    @nn.compact
    def __call__(
        self,
        x: Mapping[str, jax.Array],
        masks: Mapping[str, jax.Array],
        *,
        scales: Mapping[tuple[str, str], jax.Array] | None = None,
        train: bool,
    ) -> dict[str, jax.Array]:
        """Runs the network.

        Args:
          x: features of text, audio and vision in this order, [B, L, D] each; text
            also as numbers of words, [B, L] int32.
          masks: real steps of text, audio and vision, [B, L] bool each.
          scales: by (target, source) what the target has read from the source is
            multiplied by, [B]; a pair that it lacks stays as it is.
          train: apply dropout.

        Returns:
          The last step of each modality [B, 2 dim] by its name, all of them joined
          as 'fusion', and 'out' [B, outputs].
        """
        z, masks = self._project(x, masks, train)
        chex.assert_rank([*(scales or {}).values()], 1)
        dropouts = dict(zip(z, self.attention_dropouts, strict=True))

        def attend(target: str, source: str) -> jax.Array:
            name = f"{source}_to_{target}"
            h = self._encoder(name, self.layers, dropouts[source])(
                z[target],
                z[source],
                mask=masks[target],
                source_mask=masks[source],
                train=train,
            )
            scale = (scales or {}).get((target, source))
            return h if scale is None else h * scale[:, None, None].astype(h.dtype)

        last = {}
        for target in z:
            # Crossmodal Transformers (section 3.2) from both others to this one ...
            others = [m for m in z if m != target]
            h = jnp.concatenate([attend(target, m) for m in others], axis=-1)
            # ... and one of self-attention over them, whose last step predicts
            memory = self._encoder(
                f"{target}_memory", max(self.layers, 3), self.attention_dropouts[0]
            )
            h = memory(h, mask=masks[target], train=train)
            last[target] = last_step(h, masks[target])

        fusion = jnp.concatenate([*last.values()], axis=-1)
        h = fusion
        if self.residual_head:
            h = nn.relu(Linear(fusion.shape[-1], name="proj1")(h))
        h = Dropout(self.output_dropout)(h, deterministic=not train)
        if self.residual_head:
            h = fusion + Linear(fusion.shape[-1], name="proj2")(h)
        out = Linear(self.outputs, name="out")(h)
        return {**last, "fusion": fusion, "out": out}

    def _project(
        self, x: Mapping[str, jax.Array], masks: Mapping[str, jax.Array], train: bool
    ) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
        """Temporal convolutions (section 3.1): [B, L, dim] and [B, L] masks by modality."""
        z, steps = dict(x), dict(masks)
        if self.words:
            embed = WordEmbedding(self.words, self.word_dim, name="words")
            z["text"] = embed(z["text"])
        z["text"] = Dropout(self.text_dropout)(z["text"], deterministic=not train)
        for modality, size in zip(x, self.kernel_sizes, strict=True):
            assert_steps(z[modality], steps[modality])
            # As the authors: features of the common width are left as they are.
            if z[modality].shape[-1] != self.dim:
                z[modality], steps[modality] = TemporalConvolution(
                    self.dim, size, name=f"{modality}_projection"
                )(z[modality], steps[modality])
        return z, steps

    def _encoder(self, name: str, layers: int, dropout: float) -> CrossmodalEncoder:
        return CrossmodalEncoder(
            heads=self.heads,
            layers=layers,
            causal=self.causal,
            position_embedding=self.position_embedding,
            fairseq_zero_pos=self.fairseq_zero_pos,
            counted_pos=self.counted_pos,
            attention_dropout=dropout,
            relu_dropout=self.relu_dropout,
            residual_dropout=self.residual_dropout,
            embed_dropout=self.embed_dropout,
            remat=self.remat,
            name=name,
        )
