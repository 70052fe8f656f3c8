"""MFM: one factor that predicts and one for each modality, from which together the modality is generated again.

Tsai, Liang, Zadeh, Morency and Salakhutdinov, "Learning Factorized Multimodal
Representations", ICLR 2019; the network, the losses and the defaults (CMU-MOSI) are
thuiar/MMSA's. Unlike there, the recurrent states stand still on padding, and padded steps
have no part in the reconstruction (`padded` restores both); a row that lacks a modality
has no part in its reconstruction and divergence; the learning rate is that of the recipe
(MMSA's trainer leaves Adam's at 1e-3, whatever its configuration says). The divergence is
that of the global batch. Data that are not aligned word by word are pooled to the text's
steps, as MMSA does.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from msajax import parallel
from msajax.data.spec import MODALITIES
from msajax.models.base import Batch, Model, Outputs
from msajax.nn.align import common_steps
from msajax.nn.linear import FeedForward, Linear
from msajax.nn.memory import MemoryFusion
from msajax.nn.recurrent import LSTMDecoder, LSTMLayer

STREAMS = ("all", *MODALITIES)  # of the latent vectors and factors
_CHOICES = {"mmd_scale": ("d2", "d")}


class MFM(Model):
    """Multimodal Factorization Model.

    Four values are of all modalities together, of text, of audio and of vision.

    Attributes:
      latent_dims: widths of the latent vectors z (MMSA's zy, zl, za, zv).
      factor_dims: widths of the factors (fy, fl, fa, fv).
      factor_dropouts: dropout rates inside the networks that give the factors.
      out_dropout: dropout rate inside the network from the common factor to the
        prediction.
      reconstruction: weights of the errors of text, audio and vision in the loss.
      mmd: weight of the divergence of the latent vectors from Gaussian ones.
      mmd_scale: divisor of the squared distances in the divergence's kernel: 'd' is the
        width of the vectors; 'd2', as in MMSA, is the square of that width.
      hidden_dims, memory, attention_dim, attention_dropout, gate_dims, gate_dropouts:
        of the encoder of all modalities, an MFN without its output layers: see
        `msajax.models.mfn.MFN`.
      padded: as MMSA, align, run and reconstruct over the padding.
    """

    latent_dims: tuple[int, int, int, int] = (80, 64, 80, 80)
    factor_dims: tuple[int, int, int, int] = (64, 32, 16, 64)
    factor_dropouts: tuple[float, float, float, float] = (0.5, 0.5, 0.7, 0.5)
    out_dropout: float = 0.0
    reconstruction: tuple[float, float, float] = (0.5, 0.01, 0.5)
    mmd: float = 100.0
    mmd_scale: str = "d2"
    hidden_dims: tuple[int, int, int] = (128, 32, 128)
    memory: int = 64
    attention_dim: int = 32
    attention_dropout: float = 0.7
    gate_dims: tuple[int, int, int] = (64, 32, 64)
    gate_dropouts: tuple[float, float, float] = (0.0, 0.0, 0.5)
    padded: bool = False

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Predictions.

        Args:
          batch: as in `Model`.
          train: as in `Model`.

        Returns:
          'pred'; 'latent_all', 'latent_text', ... [B, latent_dims]; 'factor_all', ...
          [B, factor_dims]; 'error_text', 'error_audio', 'error_vision': of the
          reconstructed steps [B, L, D] from the true ones; 'steps_text', ...: which of them
          count. What nothing reads of these is not computed.
        """
        self.check_choices(_CHOICES)
        x, masks = common_steps(batch, aligned=self.spec.aligned, padded=self.padded)
        fused = MemoryFusion(
            hidden_dims=self.hidden_dims,
            memory=self.memory,
            attention_dim=self.attention_dim,
            attention_dropout=self.attention_dropout,
            gate_dims=self.gate_dims,
            gate_dropouts=self.gate_dropouts,
            name="fuse",
        )(x, masks, train=train)

        # Latent vectors, each from its own encoder
        z = {"all": Linear(self.latent_dims[0], name="latent_all")(fused["fusion"])}
        for m, dim in zip(MODALITIES, self.latent_dims[1:], strict=True):
            z[m] = self._encode(m, x[m], masks[m], dim)

        # Factors, and what is generated from two of them
        f = {}
        sizes = zip(STREAMS, self.factor_dims, self.factor_dropouts, strict=True)
        for name, dim, rate in sizes:
            network = FeedForward(dim, dim, rate, name=f"factor_{name}")
            f[name] = nn.relu(network(z[name], train=train))
        errors = {}
        for m in MODALITIES:
            factors = jnp.concatenate([f["all"], f[m]], axis=-1)
            errors[f"error_{m}"] = self._decode(m, factors, like=x[m]) - x[m]

        head = FeedForward(
            self.factor_dims[0], self.spec.num_outputs, self.out_dropout, name="out"
        )
        return {
            "pred": self.squeeze_single(head(f["all"], train=train)),
            **{f"latent_{name}": value for name, value in z.items()},
            **{f"factor_{name}": value for name, value in f.items()},
            **errors,
            **{f"steps_{m}": mask for m, mask in masks.items()},
        }

    def loss(
        self, batch: Batch, *, train: bool, progress: dict[str, jax.Array]
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The task's loss, reconstructions and divergence; in evaluation the first alone, which picks the checkpoint."""
        del progress
        out = self(batch, train=train)
        pred = out["pred"].astype(jnp.float32)
        task = self.task_loss(pred, batch)
        if not train:
            return task, {"pred": pred}
        terms = self.regularisers(out, batch, self.samples(out))
        weights = dict(zip(MODALITIES, self.reconstruction, strict=True))
        total = task + self.mmd * terms["mmd"]
        total += sum(weights[m] * terms[f"reconstruction_{m}"] for m in MODALITIES)
        return total, {"task": task, **terms}

    def samples(self, out: Outputs) -> dict[str, jax.Array]:
        """Gaussian vectors to compare with the latent ones: {stream: [B, latent]}."""

        def draw(z):
            key, dim = self.make_rng("samples"), z.shape[-1]
            return parallel.draw(lambda n: jax.random.normal(key, (n, dim)), len(z))

        return {name: draw(out[f"latent_{name}"]) for name in STREAMS}

    def regularisers(
        self, out: Outputs, batch: Batch, samples: dict[str, jax.Array]
    ) -> dict[str, jax.Array]:
        """Terms of the loss, of the global batch.

        Args:
          out: of `__call__`.
          batch: has the masks.
          samples: of `samples`.

        Returns:
          Scalars: reconstruction_text, ...: the mean squared error over the steps that
          count; mmd: the sum over the four latent vectors.
        """
        rows = {m: self.present(batch, m) for m in MODALITIES}
        found = {}
        for m in MODALITIES:
            error = jnp.square(out[f"error_{m}"].astype(jnp.float32)).mean(-1)
            steps = out[f"steps_{m}"]
            error, count = (
                parallel.batch_mean(
                    jnp.sum(x, axis=1, dtype=jnp.float32), where=rows[m]
                )
                for x in (jnp.where(steps, error, 0), steps)
            )
            found[f"reconstruction_{m}"] = error / jnp.maximum(count, 1e-6)
        distances = [
            mmd(
                *map(parallel.gather, (out[f"latent_{name}"], samples[name])),
                where=parallel.gather(rows.get(name, batch["valid"])),
                scale=self.mmd_scale,
            )
            for name in STREAMS
        ]
        return {**found, "mmd": jnp.sum(jnp.stack(distances))}

    def _encode(self, m: str, x: jax.Array, mask: jax.Array, dim: int) -> jax.Array:
        """The latent vector of a modality: [B, L, D] -> [B, dim]."""
        x, real = jnp.swapaxes(x, 0, 1), jnp.swapaxes(mask, 0, 1)[..., None]
        _, last = LSTMLayer(dim, name=f"encode_{m}")(x, real)
        return Linear(dim, name=f"latent_{m}")(last)

    def _decode(self, m: str, factors: jax.Array, *, like: jax.Array) -> jax.Array:
        """A modality from its factors: [B, D] -> an array like [B, L, Dm]."""
        h = LSTMDecoder(name=f"decode_{m}")(factors, steps=like.shape[1])
        return jnp.swapaxes(Linear(like.shape[-1], name=f"decode_{m}_out")(h), 0, 1)


def mmd(
    x: jax.Array, y: jax.Array, *, where: jax.Array, scale: str = "d2"
) -> jax.Array:
    """Maximum mean discrepancy of two sets of vectors, by the kernel k(x, y) = exp(-|x - y|^2 / s).

    Args:
      x, y: [N, D].
      where: [N] bool, False on rows of both that do not count.
      scale: s is 'd2', D squared, or 'd', D.

    Returns:
      mean k(x, x) + mean k(y, y) - 2 mean k(x, y) over all pairs; 0 without any row.

    Source: loss_MMD of thuiar/MMSA, which divides by D twice.
    """
    x, y = x.astype(jnp.float32), y.astype(jnp.float32)
    width = x.shape[-1] ** (2 if scale == "d2" else 1)
    pairs = where[:, None] & where[None]
    count = jnp.maximum(jnp.sum(pairs), 1)

    def mean(a, b):
        first, second = (jnp.sum(jnp.square(v), axis=-1) for v in (a, b))
        products = jnp.einsum("nd,md->nm", a, b)
        distance = jnp.maximum(first[:, None] + second[None] - 2 * products, 0)
        return jnp.sum(jnp.where(pairs, jnp.exp(-distance / width), 0)) / count

    return mean(x, x) + mean(y, y) - 2 * mean(x, y)
