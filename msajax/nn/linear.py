"""Linear layers that start as PyTorch's do.

torch.nn.Linear, Conv1d and LSTM draw weights and biases alike from
U(±1/sqrt(fan)); linen's defaults (LeCun normal, zero biases) train otherwise.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from msajax.nn.dropout import Dropout


def uniform(fan: int) -> nn.initializers.Initializer:
    """U(±1/sqrt(fan)). Source: reset_parameters of torch.nn.Linear, Conv1d (fan-in), LSTM (width)."""
    bound = fan**-0.5

    def init(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


class Linear(nn.Module):
    """x W + b on the last axis: [..., D] -> [..., features]; x W without `bias`."""

    features: int
    bias: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies the layer."""
        dim = x.shape[-1]
        kernel = self.param("kernel", uniform(dim), (dim, self.features))
        y = jnp.einsum("...d,df->...f", x, kernel)
        if not self.bias:
            return y
        bias = self.param("bias", uniform(dim), (self.features,))
        return y + jnp.expand_dims(bias, tuple(range(x.ndim - 1)))


class FeedForward(nn.Module):
    """Linear, ReLU, dropout, Linear on the last axis: [..., D] -> [..., features].

    Attributes:
      hidden: width of the first layer.
      features: width of the second.
      dropout: between them.
    """

    hidden: int
    features: int
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Applies the layers."""
        h = nn.relu(Linear(self.hidden, name="fc1")(x))
        h = Dropout(self.dropout)(h, deterministic=not train)
        return Linear(self.features, name="fc2")(h)
