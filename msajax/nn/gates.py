"""Gates that shift the vectors of one modality by others, no further than a share of their length.

MAG is by Rahman et al., "Integrating Multimodal Information in Large Pretrained
Transformers", ACL 2020. As in the authors' code, the gates are vectors, all
four layers have a bias, and the result is normalised. Named as in the paper: H is the
displacement, alpha its scale.
"""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from msajax.nn.dropout import Dropout
from msajax.nn.linear import Linear
from msajax.nn.norm import LayerNorm, l2_norm


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
        chex.assert_rank([text, audio, vision], 3)
        chex.assert_equal_shape_prefix([text, audio, vision], 2)
        by_vision = gated(self, text, vision, "vision")
        displacement = by_vision + gated(self, text, audio, "audio")
        self.sow("intermediates", "displacement", displacement)
        shifted = text + bounded(displacement, text, beta=self.beta)
        shifted = LayerNorm(name="norm")(shifted).astype(text.dtype)
        return Dropout(self.dropout, deterministic=not train)(shifted)


def gated(
    module: nn.Module,
    main: jax.Array,
    other: jax.Array,
    name: str,
    *,
    bias: bool = True,
) -> jax.Array:
    """relu(W_g [other; main] + b_g) * (W other + b), as layers of the calling module: [B, L, D].

    The first factor is among the module's intermediates as 'gate_<name>'.
    """
    chex.assert_equal_shape_prefix([main, other], 2)
    dim = main.shape[-1]
    gate = Linear(dim, name=f"{name}_gate")(jnp.concatenate([other, main], axis=-1))
    gate = nn.relu(gate)
    module.sow("intermediates", f"gate_{name}", gate)
    return gate * Linear(dim, bias=bias, name=name)(other)


def bounded(
    displacement: jax.Array, main: jax.Array, *, beta: float | jax.Array
) -> jax.Array:
    """alpha H: a displacement no longer than beta times the vector that it moves.

    Args:
      displacement: H, [..., D] float32.
      main: [..., D], what it moves.
      beta: a scalar.

    Returns:
      [..., D] float32; alpha = min(beta |main| / |H|, 1).

    Source: the constant 1e-6 is the authors'.
    """
    chex.assert_equal_shape([displacement, main])
    displacement = displacement.astype(jnp.float32)
    length = l2_norm(displacement)
    length = jnp.where(length > 0, length, 1) + 1e-6
    limit = beta * l2_norm(main.astype(jnp.float32))
    return jnp.minimum(limit / length, 1) * displacement
