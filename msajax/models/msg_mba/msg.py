"""MSG, the gate of MSG/MBA: MAG's, for any modality, with one bias for all others and a learned bound.

Lin & Hu, "Dynamically Shifting Multimodal Representations via Hybrid-Modal Attention
for Multimodal Sentiment Analysis", IEEE TMM 2023.
"""

from collections.abc import Mapping

import flax.linen as nn
import jax

from msajax.nn.dropout import Dropout
from msajax.nn.gates import bounded, gated
from msajax.nn.linear import uniform
from msajax.nn.norm import LayerNorm


class MSG(nn.Module):
    """X + eta h_s (equations 4 to 8).

    Attributes:
      mu: initial value of the learned mu, the longest eta h_s as a share of X's length.
      norm: normalise the result, as MAG; the paper's equations do not.
      dropout: dropout rate of the output.
    """

    mu: float = 1.0
    norm: bool = False
    dropout: float = 0.0

    @nn.compact
    def __call__(
        self, x: jax.Array, others: Mapping[str, jax.Array], *, train: bool
    ) -> tuple[jax.Array, jax.Array]:
        """Shifts each step of a modality.

        Args:
          x: X, [B, L, D] float32 or bfloat16.
          others: the other modalities by name, [B, L, Dm] each, aligned with x.
          train: apply dropout.

        Returns:
          The shifted modality, like x, and the shifting vectors h_s [B, L, D]
          before eta scales them.
        """
        dim = x.shape[-1]
        bias = self.param("bias", uniform(dim), (dim,))
        parts = [gated(self, x, other, m, bias=False) for m, other in others.items()]
        shift = sum(parts, start=bias[None, None])
        mu = self.param("mu", nn.initializers.constant(self.mu), ())
        shifted = x + bounded(shift, x, beta=mu)
        if self.norm:
            shifted = LayerNorm(name="norm")(shifted)
        shifted = Dropout(self.dropout, deterministic=not train)(shifted)
        return shifted.astype(x.dtype), shift
