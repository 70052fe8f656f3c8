"""MARN: LSTMs that share a cross-view code, which several attentions make of their states in each step.

Zadeh et al., "Multi-attention Recurrent Network for Human Communication Comprehension",
AAAI 2018; the form and the defaults (CMU-MOSEI) are those of sverma88's PyTorch code (commit
866e107). Three traits of that code are options: `recurrence`, `attention` and `output`. It
divides audio and vision by the largest absolute value of each feature in training; here
they are as the file has them. Its validation also trains, on the labels of another
split: nothing here does. Data that are not aligned word by word are pooled to the text's
steps.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from msajax.data.spec import MODALITIES
from msajax.models.base import Batch, Model, Outputs
from msajax.nn.align import common_steps
from msajax.nn.linear import Linear, uniform

# Of the modalities in states, codes and attentions: the reference's.
ORDER = ("vision", "audio", "text")
Affine = Callable[[jax.Array], jax.Array]
_CHOICES = {
    "recurrence": ("all", "text"),
    "attention": ("per_head", "joint"),
    "output": ("code_states", "code"),
}


class MARN(Model):
    """Multi-attention recurrent network.

    A step is real where any modality has it.

    Attributes:
      hidden_dims: widths of the states of text, audio and vision.
      view_dims: widths of what each of them adds to the cross-view code.
      heads: number of attentions K.
      post_dim: width of the layer before the output.
      recurrence: modalities whose LSTM reads its own state before: 'all', or 'text', a
        fault of the published code, which never updates the states of audio and vision
        that their LSTMs read.
      attention: 'per_head': each attention is a softmax over all states, as in the paper;
        'joint', as the published code: one softmax over the states in all attentions.
      output: what predicts: 'code_states', the last cross-view code and the last states,
        or 'code', as the published code.
      padded: as the reference, run over the padding.
    """

    hidden_dims: tuple[int, int, int] = (128, 30, 32)
    view_dims: tuple[int, int, int] = (32, 16, 16)
    heads: int = 4
    post_dim: int = 10
    recurrence: str = "all"
    attention: str = "per_head"
    output: str = "code_states"
    padded: bool = False

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Predictions, states and attentions.

        Args:
          batch: as in `Model`.
          train: as in `Model`; there is no dropout.

        Returns:
          'pred'; of all steps the states 'text', 'audio', 'vision' [B, L, hidden], the codes
          'fusion' [B, L, Z] and 'attention' [B, L, K, N] over the N states, both in `ORDER`.
        """
        del train
        self.check_choices(_CHOICES)
        x, masks = common_steps(batch, aligned=self.spec.aligned, padded=self.padded)
        real = masks["text"] | masks["audio"] | masks["vision"]
        sizes = {m: self.hidden_dims[MODALITIES.index(m)] for m in ORDER}
        gates, recurrent = self._lsthms(x, sizes)
        scores, view = self._attentions(sizes)
        over = -1 if self.attention == "per_head" else (-2, -1)

        def step(carry, inputs):
            state, cell, code = carry
            gates, real = inputs
            s = gates + recurrent(jnp.concatenate((state, code), axis=-1))
            h, c = _lsthm(s, cell)
            logits = scores(h).reshape(h.shape[0], self.heads, -1)
            a = nn.softmax(logits, axis=over)  # [B, K, N]
            z = view((a * h[:, None]).reshape(h.shape[0], -1))
            new = zip((h, c, z), carry, strict=True)
            state, cell, code = (jnp.where(real, after, then) for after, then in new)
            return (state, cell, code), (state, code, a)

        state, code = (
            jnp.zeros((real.shape[0], sum(dims)), jnp.float32)
            for dims in (self.hidden_dims, self.view_dims)
        )
        inputs = (jnp.swapaxes(gates, 0, 1), jnp.swapaxes(real, 0, 1)[..., None])
        (state, _, code), steps = jax.lax.scan(step, (state, state, code), inputs)

        last = code if self.output == "code" else jnp.concatenate((code, state), -1)
        h = nn.relu(Linear(self.post_dim, name="out_1")(last.astype(gates.dtype)))
        pred = Linear(self.spec.num_outputs, name="out_2")(h)
        states, codes, attention = (jnp.swapaxes(s, 0, 1) for s in steps)
        ends = itertools.accumulate(sizes.values())
        states = jnp.split(states, [*ends][:-1], axis=-1)
        found = dict(zip(ORDER, states, strict=True))
        out = {"pred": self.squeeze_single(pred), **found}
        return {**out, "fusion": codes, "attention": attention}

    def _lsthms(
        self, x: Mapping[str, jax.Array], sizes: Mapping[str, int]
    ) -> tuple[jax.Array, Affine]:
        """The long-short term hybrid memories (section 3.1), all as one.

        Returns:
          The inputs' share of the gates [B, L, 4 N]; that of states and code:
          [B, N + Z] -> [B, 4 N].
        """
        code = sum(self.view_dims)
        found = [_LSTHM(n, code, name=f"lsthm_{m}")(x[m]) for m, n in sizes.items()]
        shares, own, common = (list(parts) for parts in zip(*found, strict=True))
        if self.recurrence == "text":
            own[:2] = (jnp.zeros_like(kernel) for kernel in own[:2])
        common = jnp.concatenate(common, axis=-1)  # [Z, 4, N]
        kernel = jnp.concatenate([_diagonal(own), common])
        return _flat(jnp.concatenate(shares, axis=-1)), _affine(_flat(kernel))

    def _attentions(self, sizes: Mapping[str, int]) -> tuple[Affine, Affine]:
        """The multi-attention block (section 3.2).

        Returns:
          The scores: states [B, N] -> [B, K N]; the code: attended states
          [B, K N] -> [B, Z].
        """
        width, heads = sum(sizes.values()), self.heads
        init = uniform(width)
        kernel = self.param("attention_kernel", init, (width, heads * width))
        bias = self.param("attention_bias", init, (heads * width,))
        views, biases = [], []
        for m, n in sizes.items():
            out, init = self.view_dims[MODALITIES.index(m)], uniform(heads * n)
            view = self.param(f"view_{m}_kernel", init, (heads * n, out))
            views.append(jnp.swapaxes(view.reshape(heads, n, out), 0, 1))
            biases.append(self.param(f"view_{m}_bias", init, (out,)))
        view = jnp.swapaxes(_diagonal(views), 0, 1)  # [K, N, Z]
        view = view.reshape(heads * width, -1)
        return _affine(kernel, bias), _affine(view, jnp.concatenate(biases))


class _LSTHM(nn.Module):
    """The parameters of one modality's memory, and the share of its inputs in the gates f, i, o and g."""

    hidden: int
    code: int

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """[B, L, D] -> [B, L, 4, n]; kernels of its state [n, 4, n] and of the code [Z, 4, n]."""
        n = self.hidden

        def kernel(name: str, rows: int) -> jax.Array:
            return self.param(name, uniform(rows), (rows, 4 * n))

        gates = x @ kernel("kernel", x.shape[-1]) + self._bias()[None, None]
        kernels = kernel("recurrent_kernel", n), kernel("code_kernel", self.code)
        found = (k.reshape(*k.shape[:-1], 4, n) for k in (gates, *kernels))
        gates, own, code = found
        return gates, own, code

    def _bias(self) -> jax.Array:
        """One for the reference's three, of which each starts at 1 for the gate f."""

        def init(key, shape, dtype=jnp.float32):
            del key
            return jnp.where(jnp.arange(*shape) < self.hidden, 3, 0).astype(dtype)

        return self.param("bias", init, (4 * self.hidden,))


def _lsthm(gates: jax.Array, cell: jax.Array) -> tuple[jax.Array, jax.Array]:
    """[B, 4 N], [B, N] -> states and cells [B, N]."""
    width = cell.shape[-1]
    f, i, o = jnp.split(nn.sigmoid(gates[:, : 3 * width]), 3, axis=-1)
    cell = f * cell + i * jnp.tanh(gates[:, 3 * width :])
    return o * jnp.tanh(cell), cell


def _affine(kernel: jax.Array, bias: jax.Array | None = None) -> Affine:
    """x -> x W + b in float32, the product in the kernel's precision: [B, D] -> [B, F]."""

    def apply(x: jax.Array) -> jax.Array:
        x = x.astype(kernel.dtype)
        y = jnp.dot(x, kernel, preferred_element_type=jnp.float32)
        return y if bias is None else y + bias[None]

    return apply


def _flat(x: jax.Array) -> jax.Array:
    """[..., 4, N] -> [..., 4 N]."""
    return x.reshape(*x.shape[:-2], -1)


def _diagonal(blocks: Sequence[jax.Array]) -> jax.Array:
    """[R, X, C] each -> blocks of one array [sum of R, X, sum of C], which is 0 elsewhere."""
    total, before, rows = sum(b.shape[-1] for b in blocks), 0, []
    for block in blocks:
        after = total - before - block.shape[-1]
        rows.append(jnp.pad(block, ((0, 0), (0, 0), (before, after))))
        before += block.shape[-1]
    return jnp.concatenate(rows)
