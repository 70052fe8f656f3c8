"""FDMER, built from the published description: common and private representations, told apart by an adversary.

Yang, Huang, Kuang, Du and Zhang, "Disentangled Representation Learning for Multimodal Emotion
Recognition", ACM MM 2022. There is no public code, and only its abstract was read.
Established: one common encoder and three private ones, an adversarial discriminator of the
modality, losses of consistency and of disparity, and a fusion by cross-modal attention with
adaptive weights. All else is ours, and a field: what reads the modalities (the mean of the
text's steps, a layer in both directions over audio and vision), the encoders, the forms of the two losses, all weights and sizes. The discriminator learns to name
the modality of both kinds of representation; the gradient of what is common is reversed, so
one optimizer trains all. No figure of the paper is claimed.
"""

import itertools
import math
from typing import Annotated

import flax.linen as nn
import jax
import jax.numpy as jnp
from annotated_types import Gt

from msajax import losses, parallel
from msajax.encoders import Encoder
from msajax.encoders.steps import make_encoder, text_steps
from msajax.models.base import Batch, Model, Outputs
from msajax.nn.activations import gelu
from msajax.nn.attention import MultiHeadAttention, masked_softmax
from msajax.nn.dropout import Dropout
from msajax.nn.linear import FeedForward, Linear
from msajax.nn.norm import LayerNorm
from msajax.nn.pooling import final_states, mean_pool
from msajax.nn.recurrent import CELLS, Recurrent

Width = Annotated[int, Gt(0)]
_CHOICES = {
    "cell": tuple(CELLS),
    "consistency_form": ("squared", "cosine"),
    "disparity_form": ("orthogonal", "hsic"),
}


class FDMER(Model):
    """Feature-disentangled multimodal emotion recognition.

    A modality that the data lacks has no parameters.

    Attributes:
      encoder: the network that reads word pieces, from config.text; None takes the text
        features of the data.
      cell: cell of the networks that read audio and vision: 'lstm' or 'gru'.
      dim: width of all representations.
      hidden: width of the hidden layers of encoders, discriminator and output.
      heads: number of heads of the fusion's attention.
      dropout: dropout rate behind the attention and before the last layer.
      adversarial, consistency, disparity: weights of the losses.
      consistency_form: distance between two modalities' common representations: 'squared', a
        mean over the width, or 1 - 'cosine'.
      disparity_form: measure of what a modality's two representations, and two private ones,
        share: MISA's 'orthogonal' products, or the Hilbert-Schmidt independence criterion
        ('hsic').
      bandwidth: width of HSIC's Gaussian kernels, in units of the root of `dim`.
      remat, scan: options of the encoder's layers, as in `TextOnly`.

    Raises:
      ValueError: the data has fewer than two modalities.
    """

    encoder: Encoder | None = None
    cell: str = "lstm"
    dim: Width = 128
    hidden: Width = 128
    heads: Width = 4
    dropout: float = 0.1
    adversarial: float = 0.1
    consistency: float = 0.1
    disparity: float = 0.1
    consistency_form: str = "squared"
    disparity_form: str = "orthogonal"
    bandwidth: Annotated[float, Gt(0)] = 1.0
    remat: bool = False
    scan: bool = False

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Predictions.

        Returns:
          'pred'; of the M modalities that the data has, in order: 'common' and 'private'
          [B, M, dim], 'modality' [B, 2 M, M], the discriminator's logits of both; 'weights'
          [B, 2 M], of both in the fusion, 0 where a row lacks the modality; 'fusion' [B, dim].
        """
        names = self._streams()
        if "text" in names:
            encoder = make_encoder(self.encoder, remat=self.remat, scan=self.scan)
            batch = text_steps(encoder, batch, train=train)
        u = [self._utterance(m, batch) for m in names]
        private = [
            self._encoder(f"private_{m}")(x) for m, x in zip(names, u, strict=True)
        ]
        common = self._encoder("common")(jnp.stack(u, axis=1))
        private = jnp.stack(private, axis=1)
        discriminator = FeedForward(self.hidden, len(names), name="discriminator")
        both = jnp.concatenate([reverse_gradient(common), private], axis=1)
        modality = discriminator(both, train=train)

        has = [jnp.any(batch[f"{m}_mask"], axis=1) for m in names]
        seen = jnp.stack([*has, *has], axis=1)  # [B, 2 M]
        x = jnp.concatenate([common, private], axis=1)
        visible = jnp.broadcast_to(seen[:, None], (*seen.shape, seen.shape[1]))
        attention = MultiHeadAttention(self.heads, name="attention")
        h = Dropout(self.dropout)(
            attention(x, mask=visible, train=train), deterministic=not train
        )
        h = LayerNorm(name="norm")(x + h)
        scores = Linear(1, name="weight")(h)[..., 0].astype(jnp.float32)
        weights = masked_softmax(scores, seen)
        fusion = jnp.einsum("bk,bkd->bd", weights.astype(h.dtype), h)
        head = FeedForward(self.hidden, self.spec.num_outputs, self.dropout, name="out")
        out = dict(common=common, private=private, modality=modality)
        pred = self.squeeze_single(head(fusion, train=train))
        return {"pred": pred, **out, "weights": weights, "fusion": fusion}

    def loss(
        self, batch: Batch, *, train: bool, progress: dict[str, jax.Array]
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The task's loss and the three weighted ones; in evaluation the task's alone."""
        del progress
        out = self(batch, train=train)
        pred = out["pred"].astype(jnp.float32)
        task = self.task_loss(pred, batch)
        if not train:
            return task, {"pred": pred}
        terms = self.regularisers(out, batch)
        total = task + sum(getattr(self, name) * x for name, x in terms.items())
        return total, {"task": task, **terms}

    def regularisers(self, out: Outputs, batch: Batch) -> dict[str, jax.Array]:
        """The losses on the representations of the global batch, by their weights' names.

        A row has part in what compares the modalities that it has.

        Args:
          out: of `__call__`.
          batch: has the masks.

        Returns:
          Scalars: 'adversarial', the mean of the discriminator's cross-entropies over
          modalities, for common plus for private ones; 'consistency', the sum over pairs
          of modalities; 'disparity', the sum over modalities and over pairs.
        """
        names = self._streams()
        own = jnp.stack([self.present(batch, m) for m in names], axis=1)
        values = (out[k].astype(jnp.float32) for k in ("common", "private"))
        common, private, has = map(parallel.gather, (*values, own))
        common, private = (jnp.moveaxis(x, 1, 0) for x in (common, private))
        size, has = len(names), has.T
        pairs = [*itertools.combinations(range(size), 2)]
        apart = [
            _mean(self._distance(common[i], common[j]), has[i] & has[j])
            for i, j in pairs
        ]
        compared = [(common[i], private[i], has[i]) for i in range(size)]
        compared += [(private[i], private[j], has[i] & has[j]) for i, j in pairs]
        alike = [self._dependence(x, y, w) for x, y, w in compared]
        label = jnp.tile(jnp.arange(size)[None], (own.shape[0], 2))
        named = losses.cross_entropy(out["modality"], label)  # [B, 2 M]
        errors = [
            parallel.batch_mean(named[:, i], where=own[:, i % size])
            for i in range(2 * size)
        ]
        return {
            "adversarial": jnp.sum(jnp.stack(errors)) / size,
            "consistency": jnp.sum(jnp.stack(apart)),
            "disparity": jnp.sum(jnp.stack(alike)),
        }

    def _streams(self) -> list[str]:
        self.check_choices(_CHOICES)
        return self.compared()

    def _utterance(self, m: str, batch: Batch) -> jax.Array:
        """The vector u_m of a modality: [B, dim]."""
        x, mask = batch[m], batch[f"{m}_mask"]
        if m == "text":
            h = mean_pool(x, mask)
        else:
            read = Recurrent(self.dim, self.cell, True, name=f"read_{m}")
            h = final_states(read(x, mask), mask).reshape(x.shape[0], -1)
        h = nn.relu(Linear(self.dim, name=f"project_{m}")(h))
        return LayerNorm(name=f"project_{m}_norm")(h)

    def _encoder(self, name: str) -> nn.Module:
        return _Encoder(self.hidden, self.dim, name=name)

    def _distance(self, x: jax.Array, y: jax.Array) -> jax.Array:
        """[N, D], [N, D] -> [N]."""
        if self.consistency_form == "squared":
            return jnp.mean(losses.mse(x, y), axis=-1)
        lengths = jnp.sum(jnp.square(x), axis=-1) * jnp.sum(jnp.square(y), axis=-1)
        return 1 - jnp.sum(x * y, axis=-1) * jax.lax.rsqrt(jnp.maximum(lengths, 1e-12))

    def _dependence(self, x: jax.Array, y: jax.Array, where: jax.Array) -> jax.Array:
        """[N, D], [N, D], [N] bool -> a scalar."""
        if self.disparity_form == "orthogonal":
            return losses.orthogonality(x, y, where=where)
        return hsic(x, y, where=where, bandwidth=self.bandwidth * math.sqrt(self.dim))


class _Encoder(nn.Module):
    """Linear, GELU, Linear, LayerNorm: [..., D] -> [..., features]."""

    hidden: int
    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        h = gelu(Linear(self.hidden, name="fc1")(x))
        return LayerNorm(name="norm")(Linear(self.features, name="fc2")(h))


def reverse_gradient(x: jax.Array) -> jax.Array:
    """x, whose gradient has the other sign (Ganin and Lempitsky, ICML 2015)."""
    return jax.lax.stop_gradient(2 * x) - x


def hsic(
    x: jax.Array, y: jax.Array, *, where: jax.Array, bandwidth: float
) -> jax.Array:
    """Hilbert-Schmidt independence criterion with Gaussian kernels: tr(K H L H) / (n - 1)².

    Args:
      x, y: [N, D], two representations of the same rows.
      where: [N] bool, False on rows that do not count.
      bandwidth: s of the kernels exp(-|a - b|² / 2 s²).

    Returns:
      A scalar, 0 where one does not depend on the row, and without two rows.

    Source: Gretton et al., "Measuring Statistical Dependence with Hilbert-Schmidt Norms", 2005.
    """
    n = jnp.sum(where)
    counted = where[:, None] & where[None]

    def kernel(v: jax.Array) -> jax.Array:
        square = jnp.sum(jnp.square(v[:, None] - v[None]), axis=-1)
        return jnp.where(counted, jnp.exp(-square / (2 * bandwidth**2)), 0)

    k = kernel(x)
    rows = jnp.sum(k, axis=1, keepdims=True) / jnp.maximum(n, 1)
    mean = jnp.sum(rows, keepdims=True) / jnp.maximum(n, 1)
    centred = jnp.where(counted, k - rows - rows.T + mean, 0)  # H K H
    return jnp.sum(centred * kernel(y)) / jnp.square(jnp.maximum(n - 1, 1))


def _mean(values: jax.Array, where: jax.Array) -> jax.Array:
    """Over the rows that count: [N], [N] bool -> a scalar."""
    return jnp.sum(jnp.where(where, values, 0)) / jnp.maximum(jnp.sum(where), 1)
