"""LSTM and GRU over padded sequences, and an LSTM that makes one, with PyTorch's gates and initialisation."""

from collections.abc import Sequence
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from msajax.nn.dropout import Dropout
from msajax.nn.linear import uniform
from msajax.nn.masks import assert_steps

# The inputs' share of the gates of all steps, the recurrent weights, and the real steps.
Stream = tuple[jax.Array, Any, jax.Array]


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
        return self.together(self.prepare(x, real))[0]

    def with_cells(
        self, x: jax.Array, real: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """As `__call__`, and the cells of all steps, [L, B, hidden]."""
        return _recur((self.prepare(x, real),))[0]

    @nn.compact
    def prepare(self, x: jax.Array, real: jax.Array) -> Stream:
        """What `together` takes of a layer and its input."""
        _assert_first_time(x, real)
        kernel, recurrent, bias = lstm_params(self, x.shape[-1], self.hidden)
        # One flat product: XLA's CPU code is faster for it than for [L, B, D].
        flat = x.reshape(-1, x.shape[-1]) @ kernel + bias[None]
        return flat.reshape(*x.shape[:2], -1), recurrent, real

    @staticmethod
    def together(*streams: Stream) -> list[tuple[jax.Array, jax.Array]]:
        """As `__call__`, of several layers in one loop over as many steps."""
        return [(outputs, last) for outputs, last, _ in _recur(streams)]


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
        return _recur(((projected, kernel + recurrent, real),))[0][0]


class GRULayer(nn.Module):
    """One layer of torch.nn.GRU (gates r, z, n), whose state stands still on padded steps."""

    hidden: int

    def __call__(self, x: jax.Array, real: jax.Array) -> tuple[jax.Array, jax.Array]:
        """[L, B, D], real [L, B, 1] bool -> outputs [L, B, hidden], last state [B, hidden]."""
        return self.together(self.prepare(x, real))[0]

    @nn.compact
    def prepare(self, x: jax.Array, real: jax.Array) -> Stream:
        """What `together` takes of a layer and its input."""
        _assert_first_time(x, real)
        init, gates = uniform(self.hidden), 3 * self.hidden
        kernel = self.param("kernel", init, (x.shape[-1], gates))
        recurrent = self.param("recurrent_kernel", init, (self.hidden, gates))
        bias = self.param("bias", init, (gates,))
        recurrent_bias = self.param("recurrent_bias", init, (gates,))
        recurrent = recurrent.astype(jnp.float32)  # as in `_forward`
        flat = x.reshape(-1, x.shape[-1]) @ kernel + bias[None]
        return flat.reshape(*x.shape[:2], gates), (recurrent, recurrent_bias), real

    @staticmethod
    def together(*streams: Stream) -> list[tuple[jax.Array, jax.Array]]:
        """As `__call__`, of several layers in one loop over as many steps."""
        weights = [weights for _, weights, _ in streams]

        def step(states, inputs):
            made = [*map(_gru_step, states, inputs, weights)]
            return [h for h, _ in made], [output for _, output in made]

        starts = [_zeros(x, recurrent) for x, (recurrent, _), _ in streams]
        inputs = [(x, real) for x, _, real in streams]
        lasts, outputs = jax.lax.scan(step, starts, inputs)
        return [(y, h.astype(y.dtype)) for h, y in zip(lasts, outputs, strict=True)]


def _gru_step(h, inputs, weights):
    (x, real), (recurrent, bias) = inputs, weights
    y = h @ recurrent + bias[None]
    x_r, x_z, x_n = jnp.split(x.astype(h.dtype), 3, axis=-1)
    y_r, y_z, y_n = jnp.split(y, 3, axis=-1)
    r, z = nn.sigmoid(x_r + y_r), nn.sigmoid(x_z + y_z)
    n = jnp.tanh(x_n + r * y_n)
    h = jnp.where(real, (1 - z) * n + z * h, h)
    return h, h.astype(x.dtype)


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
        streams = [cell(self.hidden, name="forward").prepare(x, real)]
        if self.bidirectional:
            backward = cell(self.hidden, name="backward")
            streams.append(backward.prepare(x[::-1], real[::-1]))
        h, *back = (outputs for outputs, _ in cell.together(*streams))
        if back:
            h = jnp.concatenate([h, back[0][::-1]], axis=-1)
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
def _recur(streams: Sequence[Stream]) -> tuple[tuple[jax.Array, ...], ...]:
    """The scan over time, whose gradient by the recurrent kernels is one product of matrices.

    JAX's own gradient adds one to it in each step.

    Args:
      streams: of as many steps each: [L, B, 4 H], the inputs' share of the gates; [H, 4 H];
        [L, B, 1] bool.

    Returns:
      Of each stream the outputs [L, B, H], the last one [B, H] and the cells [L, B, H],
      like the inputs' share.
    """
    return _like(streams, *_forward(streams))


def _like(streams, steps, lasts):
    return tuple(
        tuple(x.astype(projected.dtype) for x in (h, last, c))
        for (projected, _, _), (h, c, _), last in zip(
            streams, steps, lasts, strict=True
        )
    )


def _forward(streams):
    """Outputs, cells and sums in front of the gates of all steps, and the last outputs, in float32.

    Products are too: on a GPU they are too small for half precision to be faster, and it
    would start kernels that pad and convert in every step.
    """
    weights = [recurrent.astype(jnp.float32) for _, recurrent, _ in streams]

    def step(states, inputs):
        steps = [*map(_lstm_step, states, inputs, weights)]
        return [(h, c) for h, c, _ in steps], steps

    starts = [(_zeros(*stream[:2]),) * 2 for stream in streams]
    inputs = [(projected, real) for projected, _, real in streams]
    lasts, steps = jax.lax.scan(step, starts, inputs)
    return steps, [h for h, _ in lasts]


def _zeros(projected: jax.Array, recurrent: jax.Array) -> jax.Array:
    """The state before the first step: [B, H] float32."""
    return jnp.zeros((projected.shape[1], recurrent.shape[0]), jnp.float32)


def _lstm_step(state, inputs, recurrent):
    (h, c), (z, real) = state, inputs
    z = z.astype(jnp.float32) + h @ recurrent
    i, f, g, o = lstm_gates(z)
    c_new = f * c + i * g
    return jnp.where(real, o * jnp.tanh(c_new), h), jnp.where(real, c_new, c), z


def _save(streams):
    streams = tuple(tuple(x.value for x in stream) for stream in streams)
    steps, lasts = _forward(streams)
    return _like(streams, steps, lasts), (steps, [stream[1:] for stream in streams])


def _backward(saved, gradients):
    steps, rest = saved
    weights = [recurrent.astype(jnp.float32) for recurrent, _ in rest]

    starts, inputs = [], []
    for (_, c, z), (_, real), given in zip(steps, rest, gradients, strict=True):
        # What nothing reads costs nothing.
        d_outputs, d_last, d_cells = (
            None if isinstance(g, SymbolicZero) else g.astype(c.dtype) for g in given
        )
        zeros = jnp.zeros_like(c[0])
        starts.append((zeros if d_last is None else d_last, zeros))
        inputs.append((d_outputs, d_cells, z, c, _before(c), real))

    def step(states, inputs):
        found = [*map(_lstm_step_back, states, inputs, weights)]
        return [(dh, dc) for dh, dc, _ in found], [dz for _, _, dz in found]

    _, found = jax.lax.scan(step, starts, inputs, reverse=True)
    by_streams = []
    for dz, (h, _, _), (w, _), given in zip(found, steps, rest, gradients, strict=True):
        h, by_z = _before(h).astype(w.dtype), dz.astype(w.dtype)
        by_w = h.reshape(-1, h.shape[-1]).T @ by_z.reshape(-1, dz.shape[-1])
        by_streams.append((dz.astype(given[0].dtype), by_w, None))
    return (tuple(by_streams),)


def _before(x: jax.Array) -> jax.Array:
    """The value of the step before, 0 in the first: [L, B, H]."""
    return jnp.pad(x[:-1], ((1, 0), (0, 0), (0, 0)))


def _lstm_step_back(state, inputs, recurrent):
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
    return dh, jnp.where(real, dc_new * f, dc), dz


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
