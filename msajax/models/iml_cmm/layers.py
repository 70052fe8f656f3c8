"""Layers of IML-CMM: KAN behind a LayerNorm, and the pooling of a modality's tokens."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from msajax.models.iml_cmm.kan import KANLinear
from msajax.models.iml_cmm.splines import Grid
from msajax.nn.attention import masked_softmax
from msajax.nn.linear import Linear
from msajax.nn.norm import LayerNorm


class NormedLayer(nn.Module):
    """LayerNorm and a KAN layer, or a linear one: [..., I] -> [..., features].

    Attributes:
      features: width of the output.
      grid: grid of the KAN layer's splines; None takes the linear layer.
      relu: apply a ReLU behind the linear layer.
    """

    features: int
    grid: Grid | None
    relu: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies the layers."""
        x = LayerNorm(name="norm")(x)
        if self.grid is not None:
            return KANLinear(self.features, self.grid, name="kan")(x)
        x = Linear(self.features, name="linear")(x)
        return nn.relu(x) if self.relu else x


class AttentionPool(nn.Module):
    """A learned vector attends to the steps: v tanh(W h + b) are its scores.

    Attributes:
      dim: width of W h.
    """

    dim: int

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        """[B, L, D], mask [B, L] bool -> [B, D]."""
        hidden = nn.tanh(Linear(self.dim, name="hidden")(x))
        scores = Linear(1, bias=False, name="score")(hidden)[..., 0]
        weights = masked_softmax(scores.astype(jnp.float32), mask)
        self.sow("intermediates", "attention", weights)
        return jnp.einsum("bl,bld->bd", weights.astype(x.dtype), x)
