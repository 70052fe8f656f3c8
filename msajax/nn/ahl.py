"""Adaptive Hyper-modality Learning (AHL): text at several scales gathers what audio and vision have for it.

Zhang et al., "Learning Language-guided Adaptive Hyper-modality Representation for
Multimodal Sentiment Analysis" (ALMT), EMNLP 2023, as in the authors' code
(models/almt_layer.py of Haoyu-ha/ALMT): a layer adds to the normalised
hyper-modality, not to itself.
"""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from msajax.nn.attention import attend, watched
from msajax.nn.linear import Linear
from msajax.nn.norm import LayerNorm
from msajax.nn.token_transformer import PreNormEncoder, out_layer


class AHLLayer(nn.Module):
    """The text attends to audio and to vision; both outcomes are added to the hyper-modality.

    Attributes:
      heads: number of heads H.
      head_dim: width E of each.
    """

    heads: int = 8
    head_dim: int = 16

    @nn.compact
    def __call__(
        self, hyper: jax.Array, text: jax.Array, audio: jax.Array, vision: jax.Array
    ) -> jax.Array:
        """One layer.

        Args:
          hyper: [B, n, D] float32.
          text: [B, n, D], the layer's scale.
          audio, vision: [B, m, D] tokens.

        Returns:
          [B, n, D].
        """
        chex.assert_equal_shape([hyper, text])
        chex.assert_rank([text, audio, vision], 3)
        inner = self.heads * self.head_dim

        def project(x, name, parts):
            h = LayerNorm(name=f"{name}_norm")(x)
            h = Linear(parts * inner, bias=False, name=name)(h)
            return h.reshape(*h.shape[:2], parts, self.heads, self.head_dim)

        q = project(text, "text", 1)[:, :, 0]
        out = jnp.zeros_like(q)
        for name, x in (("audio", audio), ("vision", vision)):
            k, v = jnp.moveaxis(project(x, name, 2), 2, 0)
            every = jnp.ones((1, 1, 1, x.shape[1]), bool)
            out += attend(q, k, v, mask=every, see=watched(self, f"attention_{name}"))
        return LayerNorm(name="hyper_norm")(hyper) + out_layer(out, hyper.shape[-1])


class AHL(nn.Module):
    """A layer for each scale of the text: its tokens, and what Transformer layers make of them.

    Attributes:
      layers: of AHL; the text's encoder has one less.
      heads, head_dim: of AHL's layers.
      text_heads, text_head_dim, mlp_dim, activation: of the text's encoder.
    """

    layers: int = 3
    heads: int = 8
    head_dim: int = 16
    text_heads: int = 8
    text_head_dim: int = 64
    mlp_dim: int = 128
    activation: str = "gelu"

    @nn.compact
    def __call__(
        self, text: jax.Array, audio: jax.Array, vision: jax.Array
    ) -> tuple[jax.Array, list[jax.Array]]:
        """Makes the hyper-modality.

        Args:
          text, audio, vision: [B, n, D] tokens.

        Returns:
          The hyper-modality [B, n, D], and the text's scales, [B, n, D] each; the
          first is the tokens with positions added.
        """
        chex.assert_rank([text, audio, vision], 3)
        chex.assert_equal_shape_prefix([text, audio, vision], 1)
        rows, n, dim = text.shape
        normal = nn.initializers.normal(1.0)
        positions = self.param("positions", normal, (n, dim))
        encoder = PreNormEncoder(
            self.layers - 1,
            heads=self.text_heads,
            mlp_dim=self.mlp_dim,
            head_dim=self.text_head_dim,
            activation=self.activation,
            name="text_encoder",
        )
        scales = encoder(text + positions[None], mask=jnp.ones((rows, n), bool))
        hyper = self.param("hyper", nn.initializers.ones, (n, dim))
        hyper = jnp.broadcast_to(hyper[None], text.shape)
        for i, scale in enumerate(scales):
            layer = AHLLayer(self.heads, self.head_dim, name=f"layer_{i}")
            hyper = layer(hyper, scale, audio, vision)
        return hyper, scales
