"""ICCN, built from the published description: text-based audio and text-based vision, made to correlate.

Sun, Sarma, Sethares and Liang, "Learning Relationships between Text, Audio, and Video via Deep
Canonical Correlation for Multimodal Language Analysis", AAAI 2020. There is no public code, and
only its abstract was read. Established: outer products of the text with audio and with
vision, features of them by networks, deep canonical correlation (DCCA) between the two, and the
three views together for the task. All else is ours, and a field: the text's vector, the
networks, their sizes, the weight of the correlation, and that it is learned with the task
(`cca_loss` alone is for a phase of its own, after which the output is trained). Our output has
a hidden layer. No figure of the paper is claimed.
"""

import itertools
from typing import Annotated

import flax.linen as nn
import jax
import jax.numpy as jnp
from annotated_types import Ge, Gt

from msajax import parallel
from msajax.encoders import Encoder
from msajax.encoders.steps import make_encoder, text_steps
from msajax.encoders.summary import summary_steps
from msajax.models.base import Batch, Model, Outputs
from msajax.nn.convolution import TemporalConvolution
from msajax.nn.linear import FeedForward, Linear
from msajax.nn.pooling import mean_pool
from msajax.nn.recurrent import LSTM

Width = Annotated[int, Gt(0)]
# Of an image that is halved twice.
Side = Annotated[int, Ge(4)]
_CHOICES = {"pooling": ("first", "mean")}
_OTHERS = ("audio", "vision")
_RIDGE = 1e-4


class ICCN(Model):
    """Interaction canonical correlation network.

    Attributes:
      encoder: the network that reads word pieces, from config.text; None takes the text
        features of the data.
      pooling: the text's vector: its 'first' step, BERT's [CLS], or the 'mean'.
      text_dim, dim: widths of the vectors of text, and of audio and vision.
      kernel_size: kernel size of the convolution over audio and vision, before their LSTM.
      channels: numbers of channels of the two convolutions over an outer product.
      image_kernel: kernel size of these convolutions, in both directions.
      view_dim: width of a view, the features of an outer product.
      canonical: number k of canonical correlations that are summed, at most `view_dim`.
      ridge: r, added to the views' variances.
      cca_weight: weight of the correlations in the loss.
      out_dim, dropout: width and dropout rate of the hidden layer of the output.
      remat, scan: options of the encoder's layers, as in `TextOnly`.

    Raises:
      ValueError: the data has no text, or neither audio nor vision; `canonical` is more
        than `view_dim`.
    """

    encoder: Encoder | None = None
    pooling: str = "first"
    text_dim: Side = 64
    dim: Side = 32
    kernel_size: Width = 3
    channels: tuple[Width, Width] = (16, 32)
    image_kernel: Width = 3
    view_dim: Width = 50
    canonical: Width = 10
    ridge: Annotated[float, Gt(0)] = 1e-3
    cca_weight: float = 0.1
    out_dim: Width = 64
    dropout: float = 0.1
    remat: bool = False
    scan: bool = False

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Predictions.

        Returns:
          'pred'; 'text' [B, text_dim]; of audio and vision each 'm' [B, dim] and its view
          'view_m' [B, view_dim]; 'fusion' [B, 2 view_dim + text_dim].
        """
        self.check_choices(_CHOICES)
        if self.canonical > self.view_dim:
            raise ValueError(
                f"two views of width {self.view_dim} have as many canonical correlations, "
                f"not {self.canonical}; set config.model.canonical to at most that"
            )
        others = self._others()
        encoder = make_encoder(self.encoder, remat=self.remat, scan=self.scan)
        batch = text_steps(encoder, batch, train=train)
        x, mask = batch["text"], batch["text_mask"]
        steps = summary_steps(self.encoder, mask) if self.pooling == "first" else mask
        text = Linear(self.text_dim, name="text")(mean_pool(x, steps))
        out, views = {"text": text}, []
        for m in others:
            convolve = TemporalConvolution(self.dim, self.kernel_size, name=f"conv_{m}")
            h = convolve(batch[m], batch[f"{m}_mask"])
            _, out[m] = LSTM(self.dim, name=f"lstm_{m}")(*h, train=train)
            outer = jnp.einsum("bt,bd->btd", text, out[m])
            views.append(self._features(outer, f"view_{m}"))
            out[f"view_{m}"] = views[-1]
        fusion = jnp.concatenate([views[0], text, *views[1:]], axis=-1)
        head = FeedForward(
            self.out_dim, self.spec.num_outputs, self.dropout, name="out"
        )
        pred = head(fusion, train=train)
        return {"pred": self.squeeze_single(pred), **out, "fusion": fusion}

    def loss(
        self, batch: Batch, *, train: bool, progress: dict[str, jax.Array]
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The task's loss and the weighted one of DCCA; in evaluation the task's alone."""
        del progress
        out = self(batch, train=train)
        pred = out["pred"].astype(jnp.float32)
        task = self.task_loss(pred, batch)
        if not train or len(self._others()) < 2:
            return task, {"pred": pred}
        cca = self._cca(out, batch)
        return task + self.cca_weight * cca, {"task": task, "cca": cca}

    def output_loss(
        self, batch: Batch, *, train: bool, progress: dict[str, jax.Array]
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The task's loss alone, for a phase that trains the output on views that stay."""
        del progress
        pred = self(batch, train=train)["pred"].astype(jnp.float32)
        return self.task_loss(pred, batch), {} if train else {"pred": pred}

    def cca_loss(
        self, batch: Batch, *, train: bool, progress: dict[str, jax.Array]
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The loss of DCCA alone, which needs no label.

        Raises:
          ValueError: the data lacks audio or vision.
        """
        del progress
        if len(self._others()) < 2:
            raise ValueError(
                "the canonical correlation is of audio and vision, but the data has "
                f"{' '.join(self.spec.modalities)}; leave the phase out"
            )
        return self._cca(self(batch, train=train), batch), {}

    def _others(self) -> list[str]:
        found = [m for m in _OTHERS if m in self.spec.modalities]
        if "text" not in self.spec.modalities or not found:
            raise ValueError(
                "iccn reads text with audio, vision or both, but the data has "
                f"{' '.join(self.spec.modalities) or 'none'}; set config.data.modalities"
            )
        return found

    def _features(self, outer: jax.Array, name: str) -> jax.Array:
        """[B, T, D] as an image of one channel -> [B, view_dim]."""
        x = outer[..., None]
        for i, channels in enumerate(self.channels):
            patches = _patches(x, self.image_kernel)
            x = _halved(nn.relu(Linear(channels, name=f"{name}_conv_{i}")(patches)))
        return Linear(self.view_dim, name=name)(x.reshape(x.shape[0], -1))

    def _cca(self, out: Outputs, batch: Batch) -> jax.Array:
        """Minus the sum of correlations over the global batch's rows that have audio and vision.

        0 where these rows are not more than a view is wide, as in an epoch's last batch: any
        two views of so few rows correlate fully.
        """
        has = self.present(batch, "audio") & self.present(batch, "vision")
        views = (out[f"view_{m}"] for m in _OTHERS)
        x, y, where = map(parallel.gather, (*views, has))
        found = correlation(x, y, where=where, count=self.canonical, ridge=self.ridge)
        return jnp.where(jnp.sum(where) > self.view_dim, -found, 0)


def _patches(x: jax.Array, size: int) -> jax.Array:
    """What a convolution sees around each pixel, zeros beyond the image: [B, T, D, C] -> [B, T, D, size² C].

    A linear layer on it is the convolution. XLA's own takes several times as long on a CPU.
    """
    (_, height, width, _), ends = x.shape, ((size - 1) // 2, size // 2)
    x = jnp.pad(x, ((0, 0), ends, ends, (0, 0)))
    places = itertools.product(range(size), repeat=2)
    parts = [x[:, i : i + height, j : j + width] for i, j in places]
    return jnp.concatenate(parts, axis=-1)


def _halved(x: jax.Array) -> jax.Array:
    """The highest of each 2 x 2 pixels: [B, T, D, C] -> [B, T // 2, D // 2, C]."""
    batch, height, width, channels = x.shape
    shape = (batch, height // 2, 2, width // 2, 2, channels)
    return jnp.max(x[:, : shape[1] * 2, : shape[3] * 2].reshape(shape), axis=(2, 4))


def correlation(
    x: jax.Array, y: jax.Array, *, where: jax.Array, count: int, ridge: float
) -> jax.Array:
    """The sum of the highest canonical correlations of two views of the same rows.

    Those are the singular values of S_xx^(-1/2) S_xy S_yy^(-1/2), and, since any root of S_xx
    differs from another by a rotation, of L_x^(-1) S_xy L_y^(-T) with Cholesky's factors, whose
    gradient is finite also where eigenvalues are equal.

    Args:
      x: [N, D].
      y: [N, E].
      where: [N] bool, False on rows that do not count.
      count: k, how many correlations.
      ridge: added to the variances; at least 1e-4 of their mean, so that float32 holds the
        factor of a large view of any rank.

    Returns:
      A scalar in [0, k], 0 without two rows.

    Source: Andrew, Arora, Bilmes and Livescu, "Deep Canonical Correlation Analysis", ICML 2013.
    """
    rows = jnp.sum(where)

    def centred(v: jax.Array) -> jax.Array:
        v = jnp.where(where[:, None], v.astype(jnp.float32), 0)
        mean = jnp.sum(v, axis=0, keepdims=True) / jnp.maximum(rows, 1)
        return jnp.where(where[:, None], v - mean, 0)

    def covariance(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.einsum("nd,ne->de", a, b) / jnp.maximum(rows - 1, 1)

    def whitened(view: jax.Array) -> jax.Array:
        variance = covariance(view, view)
        mean = jax.lax.stop_gradient(jnp.trace(variance)) / view.shape[1]
        least = jnp.maximum(ridge, _RIDGE * mean)
        root = jnp.linalg.cholesky(variance + least * jnp.eye(view.shape[1]))
        return jax.scipy.linalg.solve_triangular(root, view.T, lower=True).T

    # The rows, not their covariance: its rounding would count in directions without variance.
    t = covariance(whitened(centred(x)), whitened(centred(y)))
    return jnp.sum(jnp.linalg.svd(t, compute_uv=False)[:count])
