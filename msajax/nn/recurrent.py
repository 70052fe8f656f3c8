"""LSTM and GRU over padded sequences, and an LSTM that makes one, with PyTorch's gates and initialisation."""

from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from msajax.nn.dropout import Dropout
from msajax.nn.linear import uniform
from msajax.nn.masks import assert_steps


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
        assert_steps(x, mask)
        # Time goes first from here on: [L, B, D], and [L, B, 1] for the mask
        h, real = jnp.swapaxes(x, 0, 1), jnp.swapaxes(mask, 0, 1)[..., None]
        h, last = LSTMLayer(self.hidden, name="layer_0")(h, real)
        for i in range(1, self.layers):
            h = Dropout(self.dropout)(h, deterministic=not train)
            h, last = LSTMLayer(self.hidden, name=f"layer_{i}")(h, real)
        return jnp.swapaxes(h, 0, 1), last


class LSTMLayer(nn.Module):
    """One layer of `LSTM`: the input projection of all steps at once, then one scan."""

    hidden: int

    def __call__(self, x: jax.Array, real: jax.Array) -> tuple[jax.Array, jax.Array]:
        """[L, B, D], real [L, B, 1] bool -> outputs [L, B, hidden], last state [B, hidden]."""
        outputs, last, _ = self.with_cells(x, real)
        return outputs, last

    @nn.compact
    def with_cells(
        self, x: jax.Array, real: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """As `__call__`, and the cells of all steps, [L, B, hidden]."""
        _assert_first_time(x, real)
        kernel, recurrent, bias = lstm_params(self, x.shape[-1], self.hidden)
        # One flat product: XLA's CPU code is faster for it than for [L, B, D].
        flat = x.reshape(-1, x.shape[-1]) @ kernel + bias[None]
        return _recur(flat.reshape(*x.shape[:2], -1), recurrent, real)


class LSTMDecoder(nn.Module):
    """A torch.nn.LSTMCell that reads a vector first, and then its own last output; as wide as the vector."""

    @nn.compact
    def __call__(self, x: jax.Array, *, steps: int) -> jax.Array:
        """[B, D] -> the outputs of so many steps, [steps, B, D]."""
        chex.assert_rank(x, 2)
        kernel, recurrent, bias = lstm_params(self, x.shape[-1], x.shape[-1])
        shape = (steps - 1, x.shape[0], len(bias))
        later = jnp.broadcast_to(bias[None, None], shape)
        projected = jnp.concatenate([(x @ kernel + bias[None])[None], later])
        # Input and state are the same from the second step on; in the first the state is 0.
        real = jnp.ones((steps, x.shape[0], 1), bool)
        return _recur(projected, kernel + recurrent, real)[0]


class GRULayer(nn.Module):
    """One layer of torch.nn.GRU (gates r, z, n), whose state stands still on padded steps."""

    hidden: int

    @nn.compact
    def __call__(self, x: jax.Array, real: jax.Array) -> tuple[jax.Array, jax.Array]:
        """[L, B, D], real [L, B, 1] bool -> outputs [L, B, hidden], last state [B, hidden]."""
        _assert_first_time(x, real)
        init, gates = uniform(self.hidden), 3 * self.hidden
        kernel = self.param("kernel", init, (x.shape[-1], gates))
        recurrent = self.param("recurrent_kernel", init, (self.hidden, gates))
        bias = self.param("bias", init, (gates,))
        recurrent_bias = self.param("recurrent_bias", init, (gates,))
        recurrent = recurrent.astype(jnp.float32)  # as in `_forward`
        flat = x.reshape(-1, x.shape[-1]) @ kernel + bias[None]

        def step(h, inputs):
            x, real = inputs
            y = h @ recurrent + recurrent_bias[None]
            x_r, x_z, x_n = jnp.split(x.astype(h.dtype), 3, axis=-1)
            y_r, y_z, y_n = jnp.split(y, 3, axis=-1)
            r, z = nn.sigmoid(x_r + y_r), nn.sigmoid(x_z + y_z)
            n = jnp.tanh(x_n + r * y_n)
            h = jnp.where(real, (1 - z) * n + z * h, h)
            return h, h.astype(flat.dtype)

        h = jnp.zeros((x.shape[1], self.hidden), jnp.float32)
        inputs = flat.reshape(*x.shape[:2], gates), real
        last, outputs = jax.lax.scan(step, h, inputs)
        return outputs, last.astype(x.dtype)


CELLS = {"lstm": LSTMLayer, "gru": GRULayer}


class Recurrent(nn.Module):
    """One layer in one or both directions; padding may be on either side.

    Attributes:
      hidden: width of a direction's state.
      cell: 'lstm' or 'gru'.
      bidirectional: read backwards too.
    """

    hidden: int
    cell: str = "lstm"
    bidirectional: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        """[B, L, D], mask [B, L] bool -> [B, L, hidden], twice as wide if bidirectional; 0 on padding."""
        assert_steps(x, mask)
        cell = CELLS[self.cell]
        # Time goes first from here on: [L, B, D], and [L, B, 1] for the mask
        x, real = jnp.swapaxes(x, 0, 1), jnp.swapaxes(mask, 0, 1)[..., None]
        h, _ = cell(self.hidden, name="forward")(x, real)
        if self.bidirectional:
            back, _ = cell(self.hidden, name="backward")(x[::-1], real[::-1])
            h = jnp.concatenate([h, back[::-1]], axis=-1)
        return jnp.swapaxes(jnp.where(real, h, 0), 0, 1)


def both_directions(
    x: jax.Array,
    mask: jax.Array,
    dropout: Dropout,
    *,
    hidden: int,
    cell: str,
    layers: int,
) -> jax.Array:
    """Bidirectional layers of the calling module, 'layer_0' and so on, with dropout between them.

    As a torch.nn.LSTM or GRU of several layers: [B, L, D], mask [B, L] bool -> [B, L, 2 hidden].
    """
    for i in range(layers):
        x = dropout(x) if i else x
        x = Recurrent(hidden, cell, True, name=f"layer_{i}")(x, mask)
    return x


def _assert_first_time(x: jax.Array, real: jax.Array) -> None:
    """Asserts that x is [L, B, D] and real [L, B, 1]."""
    chex.assert_rank(x, 3)
    chex.assert_shape(real, (*x.shape[:2], 1))


def lstm_params(module: nn.Module, dim: int, hidden: int) -> tuple[jax.Array, ...]:
    """Kernel, recurrent kernel and bias, as parameters of the module."""
    init, gates = uniform(hidden), 4 * hidden
    return (
        module.param("kernel", init, (dim, gates)),
        module.param("recurrent_kernel", init, (hidden, gates)),
        module.param("bias", _sum_of_two(init), (gates,)),
    )


@jax.custom_vjp
def _recur(
    projected: jax.Array, recurrent: jax.Array, real: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The scan over time, whose gradient by the recurrent kernel is one product of matrices.

    JAX's own gradient adds one to it in each step.

    Args:
      projected: [L, B, 4 H], the inputs' share of the gates.
      recurrent: [H, 4 H].
      real: [L, B, 1] bool.

    Returns:
      Outputs [L, B, H], the last one [B, H] and the cells [L, B, H], like projected.
    """
    (h, c, _), last = _forward(projected, recurrent, real)
    return _like(projected, h, last, c)


def _like(projected: jax.Array, *arrays: jax.Array) -> Any:
    return tuple(x.astype(projected.dtype) for x in arrays)


def _forward(projected, recurrent, real):
    """Outputs, cells and sums in front of the gates of all steps, and the last output, in float32.

    Products are too: on a GPU they are too small for half precision to be faster, and it
    would start kernels that pad and convert in every step.
    """
    recurrent = recurrent.astype(jnp.float32)

    def step(state, inputs):
        h, c = state
        z, real = inputs
        z = z.astype(jnp.float32) + h @ recurrent
        i, f, g, o = lstm_gates(z)
        c_new = f * c + i * g
        h, c = jnp.where(real, o * jnp.tanh(c_new), h), jnp.where(real, c_new, c)
        return (h, c), (h, c, z)

    start = jnp.zeros((projected.shape[1], recurrent.shape[0]), jnp.float32)
    (last, _), steps = jax.lax.scan(step, (start, start), (projected, real))
    return steps, last


def _save(projected, recurrent, real):
    recurrent, real = recurrent.value, real.value
    (h, c, z), last = _forward(projected.value, recurrent, real)
    return _like(projected.value, h, last, c), (h, c, z, recurrent, real)


def _backward(saved, gradients):
    h, c, z, recurrent, real = saved
    dtype, recurrent = recurrent.dtype, recurrent.astype(jnp.float32)
    h_before, c_before = (jnp.pad(s[:-1], ((1, 0), (0, 0), (0, 0))) for s in (h, c))
    # What nothing reads costs nothing.
    d_outputs, d_last, d_cells = (
        None if isinstance(g, SymbolicZero) else g.astype(c.dtype) for g in gradients
    )

    def step(state, inputs):
        dh, dc = state
        d_output, d_cell, z, c, c_before, real = inputs
        i, f, g, o = lstm_gates(z)
        tanh = jnp.tanh(c)
        dh = dh if d_output is None else dh + d_output
        dc = dc if d_cell is None else dc + d_cell
        dc_new = dc + dh * o * (1 - tanh**2)
        di, df = dc_new * g * i * (1 - i), dc_new * c_before * f * (1 - f)
        dg, do = dc_new * i * (1 - g**2), dh * tanh * o * (1 - o)
        dz = jnp.where(real, jnp.concatenate([di, df, dg, do], axis=-1), 0)
        dh = jnp.where(real, 0, dh) + dz @ recurrent.T
        return (dh, jnp.where(real, dc_new * f, dc)), dz

    start = jnp.zeros_like(c[0])
    inputs = (d_outputs, d_cells, z, c, c_before, real)
    start = (start if d_last is None else d_last, start)
    _, dz = jax.lax.scan(step, start, inputs, reverse=True)
    dz = dz.astype(dtype)
    h_before = h_before.astype(dtype).reshape(-1, h.shape[-1])
    return dz, h_before.T @ dz.reshape(-1, dz.shape[-1]), None


_recur.defvjp(_save, _backward, symbolic_zeros=True)


def lstm_gates(z: jax.Array) -> tuple[jax.Array, ...]:
    """Input, forget, cell and output gates from [B, 4 H]: [B, H] each."""
    # Gate by gate would say the same, but XLA's CPU compiler fuses that into a
    # loop that it cannot vectorise, at three times the cost.
    i, f, _, o = jnp.split(nn.sigmoid(z), 4, axis=-1)
    return i, f, jnp.tanh(jnp.split(z, 4, axis=-1)[2]), o


def _sum_of_two(init: nn.initializers.Initializer) -> nn.initializers.Initializer:
    def draw(key, shape, dtype=jnp.float32):
        first, second = jax.random.split(key)
        return init(first, shape, dtype) + init(second, shape, dtype)

    return draw
