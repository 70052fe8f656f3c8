"""MCTN: text is translated to vision and back, and on to audio; what the encoders keep predicts.

Pham, Liang, Manzini, Morency and Póczos, "Found in Translation: Learning Robust Joint
Representations by Cyclic Translations Between Modalities", AAAI 2019; modules and defaults
are thuiar/MMSA's. The prediction needs the text alone. As in the authors' code a decoder
reads what it has made itself and carries its state on; unlike there, it decodes true
lengths, and errors are means over real steps and features, so the data need not be aligned
nor of one width. Faults of MMSA's code are options, which `msajax/weights/mctn.py` sets:
its recurrences run over the batch (`layout`), its decoders forget their state at each step
(`decoder_state`), read the target (`teacher_forcing`) and leave out the first step
(`decode_first`).
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from msajax import parallel
from msajax.data.spec import MODALITIES
from msajax.models.base import Batch, Model, Outputs
from msajax.nn.attention import masked_softmax
from msajax.nn.linear import Linear, uniform
from msajax.nn.masks import step_masks
from msajax.nn.pooling import last_step
from msajax.nn.recurrent import LSTM, Recurrent

# Which modality a translation is made from.
SOURCES = {"vision": "text", "text": "vision", "audio": "text"}
_CHOICES = {"layout": ("time", "batch"), "decoder_state": ("carried", "reset")}


class MCTN(Model):
    """Multimodal Cyclic Translation Network.

    Attributes:
      hidden: width of all recurrent networks.
      weights: weights of the errors of the translations to vision, back to text, and to
        audio.
      teacher_forcing: a decoder reads the step before of its target, not its own.
      decoder_state: 'carried' from step to step; 'reset' is MMSA's fault: both
        directions of an LSTM start at zero in each step, and their sum alone asks the
        attention of the next.
      decode_first: False is MMSA's fault: the first step is zeros, whose error counts.
      layout: 'batch' is MMSA's fault: the recurrences run over the rows of the batch (of
        a device), as if these were steps, so predictions depend on batch mates.
      padded: take padding for real, of steps and of the features of the narrower
        modalities.
    """

    hidden: int = 32
    weights: tuple[float, float, float] = (0.1, 0.1, 0.1)
    teacher_forcing: bool = False
    decoder_state: str = "carried"
    decode_first: bool = True
    layout: str = "time"
    padded: bool = False

    @property
    def fixed_length(self) -> bool:
        """As in `Model`."""
        return self.padded or self.layout == "batch"

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Predictions; 'joint' [B, L, hidden], that of the second level as 'joint_2'.

        'translations' has by modality [B, L, the widest modality's D]; 'attention' is
        that of the first, [B, Lv, Lt].
        """
        self.check_choices(_CHOICES)
        masks, x, dims = self._inputs(batch)
        width = max(self.spec.dims)
        encoders = [_Encoder(self.hidden, name=f"encoder_{i}") for i in (1, 2)]
        carried = self.decoder_state == "carried"
        settings = width, self.hidden, carried, self.teacher_forcing, self.decode_first
        decoders = [_Decoder(*settings, name=f"decoder_{i}") for i in (1, 2)]

        def translate(level: int, encoded: tuple, source: str, target: str):
            """Level is 0 or 1."""
            y, weights = decoders[level](encoded, masks[source], x[target])
            return jnp.where(jnp.arange(width) < dims[target], y, 0), weights

        made = {}
        joint = encoders[0](x["text"], masks["text"])
        made["vision"], attention = translate(0, joint, "text", "vision")
        back = encoders[0](made["vision"], masks["vision"])
        made["text"], _ = translate(0, back, "vision", "text")
        joint_2 = encoders[1](joint[0], masks["text"])
        made["audio"], _ = translate(1, joint_2, "text", "audio")

        h, _ = LSTM(self.hidden, name="lstm")(joint_2[0], masks["text"], train=train)
        h, mask = self._turn(h), self._turn(masks["text"])
        scores = jnp.tanh(Linear(1, name="score")(h)[..., 0].astype(jnp.float32))
        weights = masked_softmax(scores, mask).astype(h.dtype)
        pooled = jnp.einsum("bl,bld->bd", weights, h)
        pred = Linear(self.spec.num_outputs, name="head")(pooled)
        return {
            "pred": self.squeeze_single(pred),
            "fusion": pooled,
            "joint": self._turn(joint[0]),
            "joint_2": self._turn(joint_2[0]),
            "translations": {m: self._turn(y) for m, y in made.items()},
            "attention": attention,
        }

    def loss(
        self, batch: Batch, *, train: bool, progress: dict[str, jax.Array]
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The task's loss and the translations' mean squared errors, also in evaluation."""
        del progress
        out = self(batch, train=train)
        pred = out["pred"].astype(jnp.float32)
        total = task = self.task_loss(pred, batch)
        terms = {"task": task}
        masks, x, dims = self._inputs(batch)
        for (m, source), weight in zip(SOURCES.items(), self.weights, strict=True):
            y = out["translations"][m].astype(jnp.float32)
            mask = self._turn(masks[m])
            square = jnp.square(y - self._turn(x[m]).astype(jnp.float32))
            steps = jnp.where(mask, jnp.sum(square, axis=-1) / dims[m], 0)
            rows = jnp.sum(steps, axis=1) / jnp.maximum(jnp.sum(mask, axis=1), 1)
            where = self.present(batch, m) & self.present(batch, source)
            terms[f"mse_{m}"] = parallel.batch_mean(rows, where=where)
            total += weight * terms[f"mse_{m}"]
        return total, terms | {"pred": pred}

    def _inputs(self, batch: Batch) -> tuple[dict[str, Any], ...]:
        """By modality: masks, features of one width, and how many of these count."""
        steps = [self._turn(m) for m in step_masks(batch, padded=self.padded)]
        masks: dict[str, jax.Array] = dict(zip(MODALITIES, steps, strict=True))
        width, x = max(self.spec.dims), {}
        for m, dim in zip(MODALITIES, self.spec.dims, strict=True):
            wide = jnp.pad(batch[m], ((0, 0), (0, 0), (0, width - dim)))
            x[m] = jnp.where(masks[m][..., None], self._turn(wide), 0)
        dims = [width if self.padded else dim for dim in self.spec.dims]
        return masks, x, dict(zip(MODALITIES, dims, strict=True))

    def _turn(self, x: jax.Array) -> jax.Array:
        """[B, L, ...], and back: the axis of the recurrences is the second."""
        return x if self.layout == "time" else jnp.swapaxes(x, 0, 1)


class _Encoder(nn.Module):
    """x [B, L, D], mask [B, L] bool -> both directions' sum [B, L, hidden], state [B, hidden]."""

    hidden: int

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
        h = Recurrent(self.hidden, bidirectional=True, name="lstm")(x, mask)
        forward, backward = jnp.split(h, 2, axis=-1)
        last = last_step(forward, mask) + backward[:, 0]
        state = jnp.tanh(Linear(self.hidden, bias=False, name="state")(last))
        return forward + backward, state


class _Decoder(nn.Module):
    """An LSTM that attends to a sequence at each step; fields as in `MCTN`."""

    width: int
    hidden: int
    carried: bool
    teacher_forcing: bool
    decode_first: bool

    @nn.compact
    def __call__(
        self, encoded: tuple[jax.Array, jax.Array], mask: jax.Array, target: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Decodes as many steps as the target has.

        Args:
          encoded: of `_Encoder`, E [B, L, hidden] and s [B, hidden].
          mask: [B, L] bool, real steps of E.
          target: [B, T, width].

        Returns:
          [B, T, width], and the attention of the decoded steps, [B, T, L].
        """
        n, gates, cells = self.hidden, 4 * self.hidden, 1 if self.carried else 2
        attention = self.param("attention", uniform(2 * n), (2 * n, n))
        score = self.param("score", uniform(n), (n,))
        kernel = self.param("kernel", uniform(n), (cells, self.width + n, gates))
        bias = self.param("bias", uniform(n), (cells, gates))[None]
        recurrent = jnp.zeros((n, gates))
        if self.carried:
            recurrent = self.param("recurrent_kernel", uniform(n), (n, gates))
        out = self.param("out", uniform(2 * n), (2 * n, self.width))
        out_bias = self.param("out_bias", uniform(2 * n), (self.width,))[None]
        keys = encoded[0] @ attention[n:]

        def step(carry, given):
            s, c, y = carry
            y = given if self.teacher_forcing else y
            hidden = jnp.tanh((s @ attention[:n])[:, None] + keys)
            weights = masked_softmax((hidden @ score).astype(jnp.float32), mask)
            context = jnp.einsum("bl,bln->bn", weights.astype(keys.dtype), encoded[0])
            x = jnp.concatenate([y, context], axis=-1)
            z = jnp.einsum("bd,cdg->bcg", x, kernel) + bias
            if self.carried:
                z += (s @ recurrent)[:, None]
            i, f, g, o = jnp.split(z.astype(c.dtype), 4, axis=-1)
            c_new = nn.sigmoid(i) * jnp.tanh(g) + nn.sigmoid(f) * c
            # Summed over the cells
            s = jnp.sum(nn.sigmoid(o) * jnp.tanh(c_new), axis=1).astype(s.dtype)
            y = jnp.concatenate([s, context], axis=-1) @ out + out_bias
            return (s, c_new if self.carried else c, y), (y, weights)

        given = jnp.pad(jnp.swapaxes(target, 0, 1)[:-1], ((1, 0), (0, 0), (0, 0)))
        skipped = int(not self.decode_first)
        c = jnp.zeros((mask.shape[0], cells, n), jnp.float32)
        _, (y, weights) = jax.lax.scan(
            step, (encoded[1], c, jnp.zeros_like(given[0])), given[skipped:]
        )
        y = jnp.pad(y, ((skipped, 0), (0, 0), (0, 0)))
        return jnp.swapaxes(y, 0, 1), jnp.swapaxes(weights, 0, 1)
