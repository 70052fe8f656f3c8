"""LSTM over padded sequences, with PyTorch's gates and initialisation."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from msajax.nn.dropout import Dropout
from msajax.nn.linear import uniform


class LSTM(nn.Module):
    """A stack of LSTM layers whose state stands still on padded steps.

    As torch.nn.LSTM (gates i, f, g, o; dropout between layers), but with one
    bias a layer for its two: their sum, which starts as the sum of two draws
    (and which an adaptive optimizer moves half as fast as the pair).

    Attributes:
      hidden: width of the state.
      layers: number of layers.
      dropout: of the outputs of all layers but the last.
    """

    hidden: int
    layers: int = 1
    dropout: float = 0.0

    @nn.compact
    def __call__(
        self, x: jax.Array, mask: jax.Array, *, train: bool
    ) -> tuple[jax.Array, jax.Array]:
        """Runs over time.

        Args:
          x: [B, L, D] float32.
          mask: [B, L] bool, True on real steps.
          train: apply dropout.

        Returns:
          Outputs of the last layer [B, L, hidden], and its state after the last
          real step [B, hidden]; without a real step that is zero.
        """
        h, last = LSTMLayer(self.hidden, name="layer_0")(x, mask)
        for i in range(1, self.layers):
            h = Dropout(self.dropout)(h, deterministic=not train)
            h, last = LSTMLayer(self.hidden, name=f"layer_{i}")(h, mask)
        return h, last


class LSTMLayer(nn.Module):
    """One layer of `LSTM`: the input projection of all steps at once, then one scan."""

    hidden: int

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
        """[B, L, D], mask [B, L] bool -> outputs [B, L, hidden], last state [B, hidden]."""
        init = uniform(self.hidden)
        gates = 4 * self.hidden
        kernel = self.param("kernel", init, (x.shape[-1], gates))
        recurrent = self.param("recurrent_kernel", init, (self.hidden, gates))
        bias = self.param("bias", _sum_of_two(init), (gates,))
        projected = jnp.einsum("bld,dg->lbg", x, kernel) + bias[None, None]

        def step(state, inputs):
            h, c = state
            z, real = inputs
            i, f, g, o = jnp.split(z + h @ recurrent, 4, axis=-1)
            c_new = nn.sigmoid(f) * c + nn.sigmoid(i) * jnp.tanh(g)
            h_new = nn.sigmoid(o) * jnp.tanh(c_new)
            h, c = jnp.where(real, h_new, h), jnp.where(real, c_new, c)
            return (h, c), h

        zeros = jnp.zeros((x.shape[0], self.hidden), x.dtype)
        real = jnp.swapaxes(mask, 0, 1)[..., None]
        (last, _), outputs = jax.lax.scan(step, (zeros, zeros), (projected, real))
        return jnp.swapaxes(outputs, 0, 1), last


def _sum_of_two(init: nn.initializers.Initializer) -> nn.initializers.Initializer:
    def draw(key, shape, dtype=jnp.float32):
        first, second = jax.random.split(key)
        return init(first, shape, dtype) + init(second, shape, dtype)

    return draw
