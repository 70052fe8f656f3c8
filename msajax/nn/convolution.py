"""Convolution over time that keeps track of what is real."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from msajax.nn.linear import uniform
from msajax.nn.masks import assert_steps


class TemporalConvolution(nn.Module):
    """Convolution without padding or bias: n real steps become n - kernel_size + 1.

    A sequence shorter than the kernel is extended with zeros to one window
    (the references fail there), so that no real step is lost.

    Attributes:
      features: output width.
      kernel_size: steps in a window.
      same: surround the sequence with zeros, so that its steps stay.
    """

    features: int
    kernel_size: int
    same: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
        """[B, L, D], mask [B, L] bool -> [B, M, features], mask [B, M]; M = L - kernel_size + 1, or L."""
        assert_steps(x, mask)
        size, length = self.kernel_size, max(x.shape[1], self.kernel_size)
        x = jnp.where(mask[..., None], x, 0)
        ends = 0, length - x.shape[1]
        if self.same:
            ends = (size - 1) // 2, size // 2
        x = jnp.pad(x, ((0, 0), ends, (0, 0)))
        y = nn.Conv(
            self.features,
            (size,),
            padding="VALID",
            use_bias=False,
            kernel_init=uniform(size * x.shape[-1]),
            conv_general_dilated=_shifted_sum,
            name="conv",
        )(x)
        if self.same:
            return jnp.where(mask[..., None], y, 0), mask
        steps = jnp.sum(mask, axis=1, keepdims=True)
        windows = jnp.where(steps > 0, jnp.maximum(steps - size + 1, 1), 0)
        return y, jnp.arange(y.shape[1])[None] < windows


def _shifted_sum(x: jax.Array, kernel: jax.Array, *_: Any, **__: Any) -> jax.Array:
    """The convolution as one product of matrices: [B, L, D], [size, D, F] -> [B, M, F].

    Each step is projected by all of the kernel's rows, and window m sums row i
    of step m + i. XLA's own convolution takes most of MulT's time on a CPU, in
    the gradient by the kernel.
    """
    size, dim, features = kernel.shape
    batch, length = x.shape[:2]
    rows = jnp.swapaxes(kernel, 0, 1).reshape(dim, size * features)
    # [B L, size F] -> [B, L, size, F]
    y = jnp.dot(x.reshape(-1, dim), rows, preferred_element_type=jnp.float32)
    y = y.reshape(batch, length, size, features)
    parts = [y[:, i : length - size + 1 + i, i] for i in range(size)]
    return sum(parts[1:], start=parts[0]).astype(x.dtype)
