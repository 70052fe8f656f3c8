"""CorMulT's Modality Correlation Evaluator: the modalities of a sample in one space.

Li, Zhu and Li, "CorMulT: A Semi-supervised Modality Correlation-aware Multimodal
Transformer for Sentiment Analysis", 2024, section 3.2.3. The cross-attention of its
Fig. 3 is in no equation and not in the authors' code.
"""

import functools
from collections.abc import Callable, Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp

from msajax import parallel
from msajax.models.cormult.distances import DISTANCES, mahalanobis
from msajax.models.cormult.perturb import Sequences
from msajax.nn.dropout import Dropout
from msajax.nn.linear import Linear, uniform
from msajax.nn.pooling import mean_pool
from msajax.nn.positions import interleaved
from msajax.nn.post_norm import PostNormEncoder
from msajax.nn.words import WordEmbedding


class MCE(nn.Module):
    """Makes of each modality a matrix F'' [t, o], and measures between them.

    Attributes:
      lengths: (modality, longest sequence) of each.
      dim, heads, layers, hidden, dropout, norm_input: arguments of the Transformers,
        see `msajax.nn.post_norm`.
      steps, out: t and o; 0 steps is the mean over time, as the authors' code.
      distance: a name in `DISTANCES`. Mahalanobis' has a running covariance [o, o],
        which the paper leaves open.
      words: ids of text that is numbers of words; 0 reads features.
    """

    lengths: tuple[tuple[str, int], ...]
    dim: int
    heads: int
    layers: int
    hidden: int
    dropout: float
    norm_input: bool
    steps: int
    out: int
    distance: str
    words: int = 0

    def setup(self):
        """Makes a network for each modality."""
        encoder = functools.partial(
            PostNormEncoder,
            layers=self.layers,
            heads=self.heads,
            hidden=self.hidden,
            dropout=self.dropout,
            norm_input=self.norm_input,
        )
        self.network = {
            m: _Evaluator(
                encoder,
                dim=self.dim,
                dropout=self.dropout,
                length=length,
                steps=self.steps,
                out=self.out,
                words=self.words if m == "text" else 0,
            )
            for m, length in self.lengths
        }
        if self.distance == "mahalanobis":
            self.covariance = self.variable(
                "statistics", "covariance", jnp.eye, self.out
            )

    def __call__(self, samples: Sequences, *, train: bool) -> dict[str, jax.Array]:
        """{modality: [B, t, o]}; zeros for a row that lacks the modality."""
        return {
            m: network(samples.x[m], samples.masks[m], train=train)
            for m, network in self.network.items()
        }

    def between(self, f: jax.Array, g: jax.Array) -> jax.Array:
        """Distance of the rows of two modalities: [B, t, o], [B, t, o] -> [B] float32."""
        if self.distance == "mahalanobis":
            return mahalanobis(f, g, self.covariance.value)
        return DISTANCES[self.distance](f, g)

    def observe(
        self, f: Mapping[str, jax.Array], where: Mapping[str, jax.Array]
    ) -> None:
        """Moves the running covariance towards that of all vectors in the global batch.

        Args:
          f: {modality: [B, t, o]}.
          where: {modality: [B] bool}, rows that count.
        """
        if self.distance != "mahalanobis":
            return
        # [B, modalities, t, o], and weights [B, modalities, t, 1]
        x = jax.lax.stop_gradient(jnp.stack([f[m] for m in where], axis=1))
        x = x.astype(jnp.float32)
        weight = jnp.stack([where[m] for m in where], axis=1)[..., None, None]
        weight = jnp.broadcast_to(weight, (*x.shape[:3], 1)).astype(jnp.float32)
        count = jnp.maximum(jnp.sum(parallel.batch_sum(weight)), 1)
        mean = jnp.sum(parallel.batch_sum(weight * x), axis=(0, 1)) / count
        centred = x - mean[None, None, None]
        products = jnp.einsum("bmto,bmtp->bop", weight * centred, centred)
        batch = parallel.batch_sum(products) / count + 1e-4 * jnp.eye(self.out)
        self.covariance.value += 0.1 * (batch - self.covariance.value)


class _Evaluator(nn.Module):
    """One modality: layer, positions, Transformer, and the map to the space."""

    make_encoder: Callable[..., nn.Module]
    dim: int
    dropout: float
    length: int
    steps: int
    out: int
    words: int

    @nn.compact
    def __call__(self, x, mask, *, train):
        if self.words:
            h = WordEmbedding(self.words, self.dim, name="embed")(x)
        else:
            h = Linear(self.dim, name="embed")(x)
        h += interleaved(*h.shape[1:])[None].astype(h.dtype)
        h = Dropout(self.dropout)(h, deterministic=not train)
        h = self.make_encoder(name="encoder")(h, mask=mask, train=train)
        f = Linear(self.out, name="out")(h)
        if not self.steps:
            return mean_pool(f, mask)[:, None]
        init, shape = uniform(self.length), (self.length, self.steps)
        kernel = self.param("time_kernel", init, shape)
        bias = self.param("time_bias", init, shape[1:])
        f = jnp.where(mask[..., None], f, 0)
        f = jnp.einsum("blo,lt->bto", f, kernel[: f.shape[1]]) + bias[None, :, None]
        return jnp.where(jnp.any(mask, axis=1)[:, None, None], f, 0)
