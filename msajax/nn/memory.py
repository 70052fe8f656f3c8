"""The memory that MFN, Graph-MFN and MFM share: a state beside the LSTMs of the modalities, with gates of its own.

Zadeh et al., "Memory Fusion Network for Multi-view Sequential Learning", AAAI 2018, in
thuiar/MMSA's form. The LSTMs do not read the memory, nor does the attention: both are
computed for all steps before the memory's scan, which is left with one product for the
two gates and one for each. Arrays are [L, B, ...] from the LSTMs on.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from msajax.nn.dropout import Dropout
from msajax.nn.linear import FeedForward, uniform
from msajax.nn.recurrent import LSTMLayer


class MemoryFusion(nn.Module):
    """The Memory Fusion Network without its output layers.

    Attributes:
      hidden_dims: widths of the LSTMs of text, audio and vision.
      memory: width of the memory.
      attention_dim, attention_dropout: of the hidden layer of the attention.
      gate_dims, gate_dropouts: as in `GatedMemory`.
    """

    hidden_dims: tuple[int, int, int]
    memory: int
    attention_dim: int
    attention_dropout: float
    gate_dims: tuple[int, int, int]
    gate_dropouts: tuple[float, float, float]

    @nn.compact
    def __call__(
        self, x: dict[str, jax.Array], masks: dict[str, jax.Array], *, train: bool
    ) -> dict[str, jax.Array]:
        """Runs over time.

        Args:
          x: text, audio and vision, [B, L, D] float32 each.
          masks: their real steps, [B, L] bool each.
          train: apply dropout.

        Returns:
          text, audio, vision: the last states [B, hidden]; memory [B, memory]; fusion:
          all four joined; attention [B, L, 2 h], h = sum of the widths, over the cells
          of the step before and of the step, of text, audio and vision each; and
          text_states, text_cells, ...: of all steps, [L, B, hidden].
        """
        found, real = LSTMs(self.hidden_dims, name="lstms")(x, masks)
        cells = jnp.concatenate([found[f"{m}_cells"] for m in x], axis=-1)

        # Delta-memory attention over the cells of two steps (section 3.2)
        window = jnp.concatenate([previous(cells), cells], axis=-1)
        scores = FeedForward(
            self.attention_dim,
            window.shape[-1],
            self.attention_dropout,
            name="attention",
        )(window, train=train)
        attention = jax.nn.softmax(scores.astype(jnp.float32), axis=-1)
        attended = attention.astype(window.dtype) * window

        # Multi-view gated memory (section 3.3)
        memory = GatedMemory(
            self.memory, self.gate_dims, self.gate_dropouts, name="memory"
        )(attended, real, train=train)
        return found | {
            "memory": memory,
            "fusion": jnp.concatenate([*(found[m] for m in x), memory], axis=-1),
            "attention": jnp.swapaxes(attention, 0, 1),
        }


class LSTMs(nn.Module):
    """An LSTM for each modality.

    Attributes:
      hidden_dims: widths of those of text, audio and vision.
    """

    hidden_dims: tuple[int, int, int]

    @nn.compact
    def __call__(
        self, x: dict[str, jax.Array], masks: dict[str, jax.Array]
    ) -> tuple[dict[str, jax.Array], jax.Array]:
        """Runs over time.

        Args:
          x: text, audio and vision, [B, L, D] each.
          masks: [B, L] bool; on other steps the modality's state stands still.

        Returns:
          {text: the last state [B, hidden], text_states, text_cells: [L, B, hidden], ...},
          and the steps that any modality has, [L, B, 1] bool.
        """
        found, real = {}, []
        for (m, features), hidden in zip(x.items(), self.hidden_dims, strict=True):
            real.append(jnp.swapaxes(masks[m], 0, 1)[..., None])
            layer = LSTMLayer(hidden, name=m)
            features = jnp.swapaxes(features, 0, 1)
            states, last, cells = layer.with_cells(features, real[-1])
            found |= {m: last, f"{m}_states": states, f"{m}_cells": cells}
        return found, jnp.any(jnp.stack(real), axis=0)


def previous(x: jax.Array) -> jax.Array:
    """The value of the step before, 0 in the first: [L, B, D] -> [L, B, D]."""
    return jnp.pad(x[:-1], ((1, 0), (0, 0), (0, 0)))


class GatedMemory(nn.Module):
    """mem_t = g1 mem_{t-1} + g2 tanh(update(x_t)), where both gates read [x_t; mem_{t-1}].

    Attributes:
      size: width of the memory.
      hidden: widths of the hidden layers of the update and of the gates g1 (what stays)
        and g2 (what is written).
      dropouts: of these three layers.
    """

    size: int
    hidden: tuple[int, int, int]
    dropouts: tuple[float, float, float]

    @nn.compact
    def __call__(self, x: jax.Array, real: jax.Array, *, train: bool) -> jax.Array:
        """[L, B, D], real [L, B, 1] bool -> the memory after the last real step, [B, size]."""
        update = FeedForward(self.hidden[0], self.size, self.dropouts[0], name="update")
        update = jnp.tanh(update(x, train=train)).astype(jnp.float32)

        dim, names = x.shape[-1], ("keep", "write")
        first, second, dropped = [], [], []
        for name, hidden, rate in zip(
            names, self.hidden[1:], self.dropouts[1:], strict=True
        ):
            shape = (dim + self.size, hidden)
            first.append(_Weights(shape, name=f"{name}_fc1")())
            second.append(_Weights((hidden, self.size), name=f"{name}_fc2")())
            ones = jnp.ones((*x.shape[:2], hidden), x.dtype)
            dropped.append(Dropout(rate)(ones, deterministic=not train))
        # The layers of both gates side by side; what x gives to them, of all steps at once
        kernel, bias = (jnp.concatenate(w, axis=-1) for w in zip(*first, strict=True))
        projected = x.reshape(-1, dim) @ kernel[:dim] + bias[None]
        projected = projected.reshape(*x.shape[:2], -1)
        dropped = jnp.concatenate(dropped, axis=-1) if train else None

        def step(memory, inputs):
            projected, update, dropped, real = inputs
            h = nn.relu(projected + _dot(memory, kernel[dim:]).astype(x.dtype))
            h = h if dropped is None else h * dropped
            parts = jnp.split(h, [self.hidden[1]], axis=-1)
            keep, write = (
                nn.sigmoid(_dot(part, kernel) + bias[None])
                for part, (kernel, bias) in zip(parts, second, strict=True)
            )
            new = keep * memory + write * update
            return jnp.where(real, new, memory), None

        start = jnp.zeros((x.shape[1], self.size), jnp.float32)
        memory, _ = jax.lax.scan(step, start, (projected, update, dropped, real))
        return memory.astype(x.dtype)


def _dot(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """A product in the trainer's precision, summed in float32."""
    return jnp.dot(x.astype(kernel.dtype), kernel, preferred_element_type=jnp.float32)


class _Weights(nn.Module):
    """Kernel and bias of a `Linear`, of a kernel's shape."""

    shape: tuple[int, int]

    @nn.compact
    def __call__(self) -> tuple[jax.Array, jax.Array]:
        init = uniform(self.shape[0])
        kernel = self.param("kernel", init, self.shape)
        return kernel, self.param("bias", init, self.shape[1:])
