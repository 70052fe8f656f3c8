"""Masked bimodal adjustment (MBA): the text attends to itself, weighted by what another modality repeats.

Lin & Hu, "Dynamically Shifting Multimodal Representations via Hybrid-Modal
Attention for Multimodal Sentiment Analysis", IEEE TMM 2023, section III-C2, after
CM-BERT (Yang et al., ACM MM 2020). The norms of equations 11 and 12 are those of a
sample's real steps: CM-BERT's, of the whole batch, would let predictions depend on
batch mates.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from msajax.nn.adjustment import adjust, similarity
from msajax.nn.convolution import TemporalConvolution
from msajax.nn.norm import l2_norm


class MBA(nn.Module):
    """Adjustment of the text by one aligned modality.

    Attributes:
      length: N, the longest sequence of the data; steps after it must be padding.
      dim: d, common width of text and modality.
      kernel_sizes: k_t and k_m of the convolutions.
      scalar: W_pt and W_pm are one number each, as in CM-BERT, and not [N, N]; both
        forms start as the identity.
    """

    length: int
    dim: int = 30
    kernel_sizes: tuple[int, int] = (3, 3)
    scalar: bool = False

    @nn.compact
    def __call__(
        self, text: jax.Array, other: jax.Array, mask: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Adjusts each step of the text.

        Args:
          text: M_t, [B, L, D] float32 or bfloat16.
          other: F_m, [B, L, Dm], aligned with the text.
          mask: [B, L] bool, real steps.

        Returns:
          M_tm, like text; the weights p_att and the attention x_att, [B, L, L]
          float32 each, from query to key.
        """
        p = {}
        inputs = zip(("text", "other"), (text, other), self.kernel_sizes, strict=True)
        for name, x, size in inputs:
            convolution = TemporalConvolution(
                self.dim, size, same=True, name=f"{name}_convolution"
            )
            x, _ = convolution(x, mask)  # (9), (10)
            x = x.astype(jnp.float32)
            products = similarity(x, l2_norm(x, axis=(1, 2)))  # (11), (12)
            bias = self.param(f"{name}_bias", nn.initializers.zeros, ())
            p[name] = jnp.tanh(self._weigh(name, products) + bias)  # (13), (14)
        p_att = p["text"] * p["other"]  # (15)
        adjusted, x_att = adjust(text, p["text"] + p_att, mask)
        return adjusted, p_att, x_att

    def _weigh(self, name: str, products: jax.Array) -> jax.Array:
        """W_p times [B, L, L]."""
        if self.scalar:
            return self.param(f"{name}_weight", nn.initializers.ones, ()) * products
        n, length = self.length, products.shape[1]
        weight = self.param(f"{name}_weight", lambda _: jnp.eye(n))
        # Products with padding are 0: rows of W for other lengths change nothing real.
        extra = max(length - n, 0)
        weight = jnp.pad(weight, ((0, extra), (0, extra)))[:length, :length]
        return jnp.einsum("qi,bik->bqk", weight, products)
