"""QMF: a step is a quantum state of its modalities, a sentence a mixture of states that is measured.

Li, Gkoumas, Lioma and Melucci, "Quantum-inspired multimodal fusion for video sentiment
analysis", Information Fusion 65, 2021; the networks and the defaults are those of the
authors' code (qiuchili/monosenti @ f12cf9b): its local mixture, and with `mixture="global"`
its uQDNN. Unlike there, no state or weight comes from padding (`padded` restores it), and a
product of states has norm 1: theirs starts at 1 + i, which doubles all probabilities
(`reference_norm`). Data that are not aligned word by word are pooled to the text's steps, and a
modality that the data lacks is no factor of the product. The phases are looked up by word
where the text is words (config.text.vocabulary); elsewhere they are a linear map of the
text's features (ours). Its vectors of words start as GloVe's, ours as random numbers.
"""

from typing import Annotated, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from annotated_types import Gt

from msajax.data.spec import MODALITIES
from msajax.models.base import Batch, Model, Outputs
from msajax.nn.align import common_steps
from msajax.nn.attention import masked_softmax
from msajax.nn.dropout import Dropout
from msajax.nn.embedding import Embed
from msajax.nn.linear import Linear
from msajax.nn.norm import l2_norm, unit
from msajax.nn.recurrent import LSTM
from msajax.nn.words import WordEmbedding

Width = Annotated[int, Gt(0)]
_CHOICES = {"mixture": ("local", "global")}


class QMF(Model):
    """Quantum-inspired multimodal fusion.

    Attributes:
      mixture: what is measured: 'local', mixtures of the steps of a window, of which each
        measurement's highest probability counts; or 'global', one mixture of all steps (uQDNN).
      windows: numbers of steps of the local mixtures. With 1 among them larger windows have
        no effect: a mean is never the highest.
      hidden: width of the LSTM over text.
      word_dim: width of words' vectors, where the text is words of a vocabulary.
      state_dims: widths of the states of text, audio and vision.
      measurements: number of measured vectors, K.
      out_dim: width of the two hidden layers of the output.
      subnet_dropouts: dropout rates of the states of the LSTM over text, and of the
        features of audio and vision.
      out_dropout: dropout rate of the probabilities.
      reference_norm: products of states start at 1 + i, as in the authors' code.
      padded: padded steps have states, and so has what lies beyond a sequence a share in the
        mixture of a window, as in the authors' code.
    """

    own_words: ClassVar[bool] = True

    mixture: str = "local"
    windows: tuple[Width, ...] = (2, 3)
    hidden: Width = 32
    word_dim: Width = 300
    state_dims: tuple[Width, Width, Width] = (10, 10, 10)
    measurements: Width = 20
    out_dim: Width = 32
    subnet_dropouts: tuple[float, float, float] = (0.2, 0.2, 0.2)
    out_dropout: float = 0.2
    reference_norm: bool = False
    padded: bool = False

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Predictions, and the states behind them; T, A and V are the widths of the modalities' states.

        Returns:
          'pred'; of each modality m, D wide, 'amplitude_m' [B, L, D], before it has length 1,
          'norm_m' [B, L] and 'state_m' [B, L, D, 2]; 'joint' [B, L, T, A, V, 2]. The last axes
          are real and imaginary parts. 'fusion' [B, K], the probabilities.
          Local: of each window n 'weight_n' [B, L, n] and 'probability_n' [B, L, K].
          Global: 'weight' [B, L], the mean of each modality's own 'weight_m'.
        """
        self.check_choices(_CHOICES)
        batch, ids = self._words(batch)
        # Words are cut otherwise than those that a file's audio and vision go by.
        aligned = self.spec.aligned and ids is None
        x, masks = common_steps(batch, aligned=aligned, padded=self.padded)
        x = {m: jnp.where(mask[..., None], x[m], 0) for m, mask in masks.items()}
        real = masks["text"] | masks["audio"] | masks["vision"]
        out, found = {}, [m for m in MODALITIES if m in self.spec.modalities]
        for m in found:
            amplitude = self._amplitude(m, x[m], masks[m], train).astype(jnp.float32)
            a, norm = _normalised(amplitude)
            phase = self._phase(m, amplitude.shape[-1], x["text"], ids)
            state = jnp.stack([a * jnp.cos(phase), a * jnp.sin(phase)], axis=-1)
            out |= {f"amplitude_{m}": amplitude, f"norm_{m}": norm, f"state_{m}": state}
        states = [out.get(f"state_{m}", _trivial(real.shape)) for m in MODALITIES]
        out["joint"] = joint = _product(states, doubled=self.reference_norm)
        init = nn.initializers.zeros
        shares = nn.softmax(self.param("modality_weights", init, (len(found),)))
        measured = self._measured(joint)
        mix = self._local if self.mixture == "local" else self._global
        norms = {m: out[f"norm_{m}"] for m in found}
        out |= mix(measured, norms, shares, real)
        h = Dropout(self.out_dropout)(out["fusion"], deterministic=not train)
        for i in (1, 2):
            h = nn.relu(Linear(self.out_dim, name=f"out_{i}")(h))
        pred = Linear(self.spec.num_outputs, name="out_3")(h)
        return {"pred": self.squeeze_single(pred), **out}

    def _words(self, batch: Batch) -> tuple[Batch, jax.Array | None]:
        """The batch with vectors of its words, and their ids, where the text is words."""
        size = self.spec.vocabulary
        if not size:
            return batch, None
        ids = batch["text_ids"]
        words = WordEmbedding(size, self.word_dim, self.padded, name="words")(ids)
        return {**batch, "text": words}, ids

    def _amplitude(
        self, m: str, x: jax.Array, mask: jax.Array, train: bool
    ) -> jax.Array:
        """[B, L, Dm], [B, L] bool -> [B, L, D]."""
        i = MODALITIES.index(m)
        dropout = Dropout(self.subnet_dropouts[i], deterministic=not train)
        if m == "text":
            h, _ = LSTM(self.hidden, name="lstm")(x, mask, train=train)
            return Linear(self.state_dims[i], name="project_text")(dropout(h))
        h = dropout(x)
        for j in (1, 2, 3):
            h = nn.relu(Linear(self.state_dims[i], name=f"{m}_{j}")(h))
        return h

    def _phase(
        self, m: str, width: int, text: jax.Array, ids: jax.Array | None
    ) -> jax.Array:
        """The phases of a modality, which start at 0: [B, L, width] float32."""
        init, name = nn.initializers.zeros, f"phase_{m}"
        if ids is None:
            phase = nn.Dense(width, kernel_init=init, name=name)(text)
        else:
            size = self.spec.vocabulary
            phase = Embed(size, width, embedding_init=init, name=name)(ids)
            # Audio and vision may have more steps than the text.
            extra = (0, text.shape[1] - ids.shape[1])
            phase = jnp.pad(phase, ((0, 0), extra, (0, 0)))
        return phase.astype(jnp.float32)

    def _measured(self, joint: jax.Array) -> jax.Array:
        """The probabilities of each step's state: [B, L, K]."""
        shape = (self.measurements, *joint.shape[2:])
        kernel = self.param("measurement", _unit_rows, shape)
        kernel = kernel.reshape(self.measurements, -1, 2)
        psi = joint.reshape(*joint.shape[:2], -1, 2)

        def product(i: int, j: int) -> jax.Array:
            return jnp.einsum("bld,kd->blk", psi[..., i], kernel[..., j])

        # <kappa|psi> = (psi_r kappa_r + psi_i kappa_i) + i (psi_i kappa_r - psi_r kappa_i)
        real, imaginary = product(0, 0) + product(1, 1), product(1, 0) - product(0, 1)
        return jnp.square(real) + jnp.square(imaginary)

    def _local(
        self,
        measured: jax.Array,
        norms: dict[str, jax.Array],
        shares: jax.Array,
        real: jax.Array,
    ) -> dict[str, jax.Array]:
        """Mixtures of windows: the probability of a mixture is the mixture of probabilities."""
        weight = jnp.einsum("m,mbl->bl", shares, jnp.stack([*norms.values()]))
        out, highest = {}, jnp.zeros((real.shape[0], self.measurements))
        for n in self.windows:
            members, values = _window(real, n), _window(measured, n)
            counted = jnp.ones_like(members) if self.padded else members
            share = masked_softmax(_window(weight, n), counted)
            p = jnp.einsum("bln,blnk->blk", share, values)
            out |= {f"weight_{n}": share, f"probability_{n}": p}
            # Windows lie around real steps; no probability is below 0.
            p = jnp.max(jnp.where(real[..., None], p, 0), axis=1)
            highest = jnp.maximum(highest, p)
        return {**out, "fusion": highest}

    def _global(
        self,
        measured: jax.Array,
        norms: dict[str, jax.Array],
        shares: jax.Array,
        real: jax.Array,
    ) -> dict[str, jax.Array]:
        """One mixture of all steps."""
        own = {f"weight_{m}": masked_softmax(norm, real) for m, norm in norms.items()}
        weight = jnp.einsum("m,mbl->bl", shares, jnp.stack([*own.values()]))
        fusion = jnp.einsum("bl,blk->bk", weight, measured)
        return {**own, "weight": weight, "fusion": fusion}


def _normalised(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Vectors of length 1 and their lengths, [B, L, D] -> [B, L, D], [B, L]; 0 stays 0, without a gradient."""
    norm = jnp.sqrt(jnp.sum(jnp.square(x), axis=-1) + 1e-10)
    return jnp.where(l2_norm(x) > 0, unit(x), 0), norm


def _trivial(shape: tuple[int, ...]) -> jax.Array:
    """The state 1 of a modality that is not there: [B, L, 1, 2]."""
    return jnp.stack([jnp.ones((*shape, 1)), jnp.zeros((*shape, 1))], axis=-1)


def _product(states: list[jax.Array], *, doubled: bool) -> jax.Array:
    """The tensor product of three states [B, L, D, 2]: [B, L, T, A, V, 2]."""
    text, audio, vision = (jax.lax.complex(x[..., 0], x[..., 1]) for x in states)
    pair = text[..., :, None] * audio[..., None, :]  # [B, L, T, A]
    psi = pair[..., None] * vision[..., None, None, :]
    if doubled:
        psi *= 1 + 1j
    return jnp.stack([psi.real, psi.imag], axis=-1)


def _window(x: jax.Array, n: int) -> jax.Array:
    """The n steps around each one, of an even number one more behind it: [B, L, ...] -> [B, L, n, ...]."""
    before = (n - 1) // 2
    extra = ((0, 0), (before, n - 1 - before), *((0, 0),) * (x.ndim - 2))
    padded, length = jnp.pad(x, extra), x.shape[1]
    return jnp.stack([padded[:, i : i + length] for i in range(n)], axis=2)


def _unit_rows(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """U(0, 1), each row then of length 1. Source: the authors' ComplexMeasurement2."""
    x = jax.random.uniform(key, shape)
    return x / l2_norm(x, axis=tuple(range(1, len(shape))))
