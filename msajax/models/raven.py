"""RAVEN: word vectors that the sound and the sight of their own moment shift.

Wang et al., "Words Can Shift: Dynamically Adjusting Word Representations Using Nonverbal
Behaviors", AAAI 2019. The defaults are the paper's form with the sizes of the authors' code
(victorywys/RAVEN @ c276657); four traits of that code are options: `gate`, `limit`,
`position_norm` and `connected`. It also keeps dropout on in evaluation, and reports the best
epoch of each metric: nothing here does. Audio and vision are to have `frames` steps for each
word; other data are pooled to that.
"""

from typing import Annotated

import flax.linen as nn
import jax
import jax.numpy as jnp
from annotated_types import Gt

from msajax import parallel
from msajax.data.spec import MODALITIES
from msajax.models.base import Batch, Model, Outputs
from msajax.nn.align import align
from msajax.nn.dropout import Dropout
from msajax.nn.linear import Linear
from msajax.nn.norm import BatchNorm, l2_norm
from msajax.nn.recurrent import LSTM

Width = Annotated[int, Gt(0)]
_NONVERBAL = MODALITIES[1:]
_CHOICES = {"gate": ("sigmoid", "linear"), "limit": ("word", "shift")}


class RAVEN(Model):
    """Recurrent attended variation embedding network.

    Attributes:
      criterion: as in `Model`.
      dim: width that a frame of audio or vision is projected to.
      cell: width of the LSTM over the frames of a word.
      hidden: width of the LSTM over words.
      frames: frames of a word in audio and vision, F.
      beta: the longest shift, as a share of the word vector's length.
      dropout: dropout rate of frames and of shifted words.
      gate: how the gates of audio and vision are squashed: 'sigmoid', as in the paper, or
        'linear', as in the published code.
      limit: how a shift s of the word e is bounded: 'word', min(beta |e| / |s|, 1) s, as in the paper;
        'shift', beta |e| s / max(|s|, 1), as in the published code.
      position_norm: audio is normalised by position in the text over the batch, also in
        evaluation, as in the published code; else by feature, with running statistics.
      connected: False cuts the gradient of the shifts, so that only the LSTM over words and
        the output layer learn, as in the published code.
    """

    criterion: str = "mse"
    dim: Width = 150
    cell: Width = 150
    hidden: Width = 300
    frames: Width = 1
    beta: Annotated[float, Gt(0)] = 0.2
    dropout: float = 0.2
    gate: str = "sigmoid"
    limit: str = "word"
    position_norm: bool = False
    connected: bool = True

    @property
    def fixed_length(self) -> bool:
        """The norm by position has parameters for each position."""
        return self.position_norm

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Predictions and shifted words.

        Args:
          batch: as in `Model`.
          train: as in `Model`.

        Returns:
          'pred'; 'words' [B, L, Dt], the shifted ones; 'fusion' [B, hidden], the state
          behind the last word.
        """
        self.check_choices(_CHOICES)
        real = batch["text_mask"]
        words = jnp.where(real[..., None], batch["text"], 0)
        states = (self._sensed(batch, m, words, train=train) for m in _NONVERBAL)
        shift = Linear(words.shape[-1], name="shift")(jnp.concatenate([*states], -1))
        if not self.connected:
            shift = jax.lax.stop_gradient(shift)
        shifted = words + self._limited(shift, words)
        h = Dropout(self.dropout)(shifted, deterministic=not train)
        _, last = LSTM(self.hidden, name="words")(h, real, train=train)
        pred = Linear(self.spec.num_outputs, name="out")(last)
        return {"pred": self.squeeze_single(pred), "words": shifted, "fusion": last}

    def _sensed(
        self, batch: Batch, modality: str, words: jax.Array, *, train: bool
    ) -> jax.Array:
        """What each word hears or sees, gated: [B, L, cell]."""
        x, real = self._framed(batch, modality)
        if modality == "audio":
            x = self._normalised(x, real, batch["valid"], train=train)
        h = Dropout(self.dropout)(x, deterministic=not train)
        h = Linear(self.dim, name=f"project_{modality}")(h)
        of_words = (real.size // self.frames, self.frames)  # [B L, F]
        _, last = LSTM(self.cell, name=f"frames_{modality}")(
            h.reshape(*of_words, -1), real.reshape(of_words), train=train
        )
        h = last.reshape(*words.shape[:2], -1)
        gate = Linear(1, name=f"gate_{modality}")(jnp.concatenate([h, words], axis=-1))
        gate = nn.sigmoid(gate) if self.gate == "sigmoid" else gate
        self.sow("intermediates", f"gated_{modality}", gate)
        return h * gate

    def _framed(self, batch: Batch, modality: str) -> tuple[jax.Array, jax.Array]:
        """F frames for each word: [B, L F, D], and those that are real, [B, L F] bool."""
        x, real, text = (batch[k] for k in (modality, f"{modality}_mask", "text_mask"))
        if modality in self.spec.modalities and not self._fits(modality):
            return align(x, real, jnp.repeat(text, self.frames, axis=1))
        steps = text.shape[1] * self.frames
        extra = (0, max(0, steps - x.shape[1]))
        x = jnp.where(real[..., None], x, 0)[:, :steps]
        x = jnp.pad(x, ((0, 0), extra, (0, 0)))
        return x, jnp.pad(real[:, :steps], ((0, 0), extra))

    def _fits(self, modality: str) -> bool:
        text, length = (
            self.spec.lengths[MODALITIES.index(m)] for m in ("text", modality)
        )
        return length == self.frames * text

    def _normalised(
        self, x: jax.Array, real: jax.Array, valid: jax.Array, *, train: bool
    ) -> jax.Array:
        if not self.position_norm:
            return BatchNorm(name="norm")(x, where=real & valid[:, None], train=train)
        frames = x.reshape(x.shape[0], -1, self.frames, x.shape[-1])
        return _PositionNorm(name="norm")(frames, valid).reshape(x.shape)

    def _limited(self, shift: jax.Array, words: jax.Array) -> jax.Array:
        """The shift, which is never longer than beta times the word: [B, L, Dt]."""
        length, word = l2_norm(shift), l2_norm(words)
        if self.limit == "shift":
            return self.beta * word * shift / jnp.maximum(length, 1)
        share = self.beta * word / jnp.where(length > 0, length, 1)
        return jnp.minimum(share, 1) * shift


class _PositionNorm(nn.Module):
    """torch.nn.BatchNorm2d without running statistics, whose channels are the words' positions."""

    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: jax.Array, valid: jax.Array) -> jax.Array:
        """[B, L, F, D], valid [B] bool -> an array like x; the statistics count the padding."""

        def mean(values: jax.Array) -> jax.Array:
            values = parallel.batch_mean(jnp.mean(values, axis=(2, 3)), where=valid)
            return values[None, :, None, None]

        scale = self.param("scale", nn.initializers.ones, (x.shape[1],))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[1],))
        scale, bias = (p[None, :, None, None] for p in (scale, bias))
        dtype, x = x.dtype, x.astype(jnp.float32)
        centred = x - mean(x)
        gain = scale * jax.lax.rsqrt(mean(jnp.square(centred)) + self.epsilon)
        return (centred * gain + bias).astype(dtype)
