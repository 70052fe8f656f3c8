"""The multimodal adaptation gate (MAG): audio and vision shift the text's vectors.

Rahman et al., "Integrating Multimodal Information in Large Pretrained
Transformers", ACL 2020. As in the authors' code, the gates are vectors, all
four layers have a bias, and the result is normalised. Named as in the paper: H is the
displacement, alpha its scale.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from msajax.nn.dropout import Dropout
from msajax.nn.linear import Linear
from msajax.nn.norm import LayerNorm


class MAGGate(nn.Module):
    """LayerNorm(text + alpha H).

    Attributes:
      beta: the longest alpha H, as a share of the text vector's length.
      dropout: of the output.
    """

    beta: float = 1.0
    dropout: float = 0.0

    @nn.compact
    def __call__(
        self, text: jax.Array, audio: jax.Array, vision: jax.Array, *, train: bool
    ) -> jax.Array:
        """Shifts each step of the text.

        Args:
          text: [B, L, D] float32 or bfloat16, hidden states of an encoder.
          audio, vision: [B, L, Da], [B, L, Dv] float32, aligned with the text.
          train: apply dropout.

        Returns:
          An array like text.
        """
        dim = text.shape[-1]

        def displace(x: jax.Array, name: str) -> jax.Array:
            gate = Linear(dim, name=f"{name}_gate")(jnp.concatenate([x, text], -1))
            return nn.relu(gate) * Linear(dim, name=name)(x)

        displacement = displace(vision, "vision") + displace(audio, "audio")
        self.sow("intermediates", "displacement", displacement)
        shifted = text + bounded(displacement, text, beta=self.beta)
        shifted = LayerNorm(name="norm")(shifted).astype(text.dtype)
        return Dropout(self.dropout, deterministic=not train)(shifted)


def bounded(
    displacement: jax.Array, text: jax.Array, *, beta: float | jax.Array
) -> jax.Array:
    """alpha H: a displacement no longer than beta times the vector that it moves.

    Args:
      displacement: H, [..., D] float32.
      text: [..., D], what it moves.
      beta: a scalar.

    Returns:
      [..., D] float32; alpha = min(beta |text| / |H|, 1).

    Source: the constant 1e-6 is the authors'.
    """
    displacement = displacement.astype(jnp.float32)
    length = _norm(displacement)
    length = jnp.where(length > 0, length, 1) + 1e-6
    limit = beta * _norm(text.astype(jnp.float32))
    return jnp.minimum(limit / length, 1) * displacement


def _norm(x: jax.Array) -> jax.Array:
    """Euclidean norm, [..., D] -> [..., 1], with gradient 0 at 0."""
    square = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    positive = square > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1)), 0)
