"""MMIM: information between pairs of modalities, and between them and their fusion, is maximised.

Han, Chen and Poria, "Improving Multimodal Fusion with Hierarchical Mutual Information
Maximization for Multimodal Sentiment Analysis", EMNLP 2021; the network is that of
declare-lab/Multimodal-Infomax and thuiar/MMSA, as are the defaults. Two phases alternate:
`estimator_loss` fits the estimators of the modalities given each other, `loss` trains all
else on them. Entropies are of the batch and the one before, whose moments are the
collection 'memory'.

Unlike in the authors' code, the projections in front of the entropies are trained (there
the estimators' optimizer has them, whose loss does not read them: weight decay alone moves
them); the memory is not forgotten at an epoch's beginning, and entropies count from the first
batch on, not the third; nothing is selected on the test split. A class with no more
samples than dimensions has no entropy, and a data set of classes, which have no sign, none
at all. The dropout of audio and vision is left out: it acts only between layers of an
LSTM, of which there is one.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from msajax import losses, parallel
from msajax.data.spec import MODALITIES
from msajax.encoders import Encoder
from msajax.encoders.steps import make_encoder, text_steps
from msajax.encoders.summary import summary_steps
from msajax.models.base import Batch, Model, Outputs
from msajax.nn.dropout import Dropout
from msajax.nn.linear import Linear
from msajax.nn.pooling import final_states, last_step, mean_pool
from msajax.nn.recurrent import Recurrent

_CHOICES = {"pooling": ("cls", "mean")}
_EPSILON = 1e-7  # on the diagonal of a covariance


class MMIM(Model):
    """Hierarchical mutual information maximisation.

    Attributes:
      encoder: the network that reads word pieces, from config.text; None takes the
        text features of the data.
      pooling: the text's one vector: 'cls', by `summary_steps`, or 'mean'.
      hidden_dims, out_dims: widths of the LSTMs of audio and vision, and of what they give.
      bidirectional: whether the LSTMs of audio and vision also read backwards, as in MMSA.
      fusion_dim: width of the fusion z.
      fusion_dropout: dropout rate of the vectors that are fused.
      audio_vision: also the pair of vision and audio, an ablation of the authors.
      predictor_layers: number of layers of the networks that predict a modality from z.
      contrast: weight α of the contrastive terms between z and the modalities.
      bound: weight β of the lower bounds of the information between modalities.
      remat, scan: options of the encoder's layers, as in `TextOnly`.
    """

    encoder: Encoder | None = None
    pooling: str = "cls"
    hidden_dims: tuple[int, int] = (16, 16)
    out_dims: tuple[int, int] = (16, 16)
    bidirectional: bool = True
    fusion_dim: int = 128
    fusion_dropout: float = 0.1
    audio_vision: bool = False
    predictor_layers: int = 1
    contrast: float = 0.1
    bound: float = 0.1
    remat: bool = False
    scan: bool = False

    @property
    def notes(self) -> tuple[str, ...]:
        """Says where the entropies fall away."""
        lost = "classes have no sign: the entropies of positive and negative rows are left out"
        return (lost,) if self.spec.classes else ()

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """(x, y): modalities y whose distribution given x is estimated."""
        third = (("vision", "audio"),) if self.audio_vision else ()
        return (("text", "vision"), ("text", "audio"), *third)

    def setup(self):
        """Makes the network, the estimators and the memory."""
        self.check_choices(_CHOICES)
        self.bert = make_encoder(self.encoder, remat=self.remat, scan=self.scan)
        names = MODALITIES[1:]
        widths: dict[str, int] = dict(zip(names, self.out_dims, strict=True))
        hidden = dict(zip(names, self.hidden_dims, strict=True))
        self.read = {m: Recurrent(hidden[m], "lstm", self.bidirectional) for m in names}
        self.project = {m: Linear(n) for m, n in widths.items()}
        self.fusion_1, self.fusion_2 = Linear(self.fusion_dim), Linear(self.fusion_dim)
        self.drop, self.head = (
            Dropout(self.fusion_dropout),
            Linear(self.spec.num_outputs),
        )
        self.predict = {m: _Predictor(self.predictor_layers) for m in MODALITIES}
        entropy = not self.spec.classes
        self.mi = {f"{x}_{y}": _Estimator(entropy) for x, y in self.pairs}
        self.memory = {
            f"{x}_{y}": self._moments(f"{x}_{y}", widths[y] // 4)
            for x, y in (self.pairs if entropy else ())
        }

    def _moments(self, pair: str, n: int) -> dict[str, nn.Variable]:
        shapes = dict(count=(2,), mean=(2, n), scatter=(2, n, n))
        return {
            k: self.variable("memory", f"{pair}_{k}", jnp.zeros, shape, jnp.float32)
            for k, shape in shapes.items()
        }

    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Predictions.

        Args:
          batch: as in `Model`.
          train: as in `Model`.

        Returns:
          'pred'; 'text' [B, D], 'audio' and 'vision' [B, out_dims], the modalities'
          vectors; 'fusion' [B, fusion_dim], z.
        """
        read = text_steps(self.bert, batch, train=train)
        out = {m: self._vector(m, read) for m in MODALITIES}
        h = self.drop(
            jnp.concatenate([*out.values()], axis=-1), deterministic=not train
        )
        z = jnp.tanh(self.fusion_2(jnp.tanh(self.fusion_1(h))))
        if self.is_initializing():  # what the losses alone read
            for x, y in self.pairs:
                self.mi[f"{x}_{y}"](out[x], out[y])
            for m in MODALITIES:
                self.predict[m](out[m], z)
        return {"pred": self.squeeze_single(self.head(z)), **out, "fusion": z}

    def _vector(self, m: str, batch: Batch) -> jax.Array:
        """A modality as one vector: [B, D]."""
        mask = batch[f"{m}_mask"]
        if m == "text":
            cls = self.pooling == "cls"
            steps = summary_steps(self.encoder, mask) if cls else mask
            return mean_pool(batch[m], steps)
        h = self.read[m](batch[m], mask)
        if self.bidirectional:
            h = final_states(h, mask).reshape(h.shape[0], -1)
        else:
            h = last_step(h, mask)
        return self.project[m](h)

    def estimator_loss(
        self, batch: Batch, *, train: bool, progress: dict[str, jax.Array]
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Minus the log-likelihood of each pair's y given x, of the phase that fits the estimators."""
        del progress
        out = self(batch, train=train)
        return -self._bounds(out, batch)[0], {"pred": out["pred"].astype(jnp.float32)}

    def loss(
        self, batch: Batch, *, train: bool, progress: dict[str, jax.Array]
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """L_task + α L_CPC - β (log-likelihoods + entropies); in evaluation L_task alone, which picks the checkpoint."""
        del progress
        out = self(batch, train=train)
        pred = out["pred"].astype(jnp.float32)
        task = self.task_loss(pred, batch)
        if not train:
            return task, {"pred": pred}
        likelihood, samples = self._bounds(out, batch)
        entropy = sum(
            (self.entropy(*x, batch) for x in samples.items()), jnp.float32(0)
        )
        contrast = self._contrast(out, batch)
        total = task + self.contrast * contrast - self.bound * (likelihood + entropy)
        terms = dict(task=task, contrast=contrast, likelihood=likelihood)
        return total, {**terms, "entropy": entropy}

    def _bounds(
        self, out: Outputs, batch: Batch
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The sum of the pairs' mean log-likelihoods; samples [B, n] of each pair for its entropy."""
        total, samples = jnp.float32(0), {}
        for x, y in self.pairs:
            name = f"{x}_{y}"
            likelihood, sample = self.mi[name](out[x], out[y])
            where = self.present(batch, x) & self.present(batch, y)
            total += parallel.batch_mean(likelihood, where=where)
            if sample is not None:
                samples[name] = sample
        return total, samples

    def _contrast(self, out: Outputs, batch: Batch) -> jax.Array:
        """The sum over modalities of InfoNCE between them and what the fusion predicts of them."""
        total = jnp.float32(0)
        for m in MODALITIES:
            x, predicted = out[m], self.predict[m](out[m], out["fusion"])
            where = self.present(batch, m)
            candidates = parallel.gather(predicted), parallel.gather(where)
            values = losses.info_nce(x, predicted, candidates[0], where=candidates[1])
            total += parallel.batch_mean(values, where=where)
        return total

    def entropy(self, pair: str, sample: jax.Array, batch: Batch) -> jax.Array:
        """H of the positive and of the negative rows, as of Gaussians; the batch then replaces the memory.

        Args:
          pair: its name.
          sample: [B, n] float32.
          batch: has label, valid and the masks.

        Returns:
          A scalar, log det Σ₊ / 4 + log det Σ₋ / 4 without the constants.
        """
        where = self.present(batch, pair.rpartition("_")[2])
        where &= batch.get("labelled", True)
        sample, y, where = map(parallel.gather, (sample, batch["label"], where))
        new = moments(sample, jnp.stack([y > 0, y < 0]) & where[None])
        memory = self.memory[pair]
        both = [jnp.stack([memory[k].value, x]) for k, x in new.items()]
        for k, x in new.items():
            memory[k].value = jax.lax.stop_gradient(x)
        count, mean, scatter = both  # [2 batches, 2 classes, ...]
        total = jnp.sum(count, axis=0)
        n = jnp.maximum(total, 1)[:, None]
        gap = mean - (jnp.sum(count[..., None] * mean, axis=0) / n)[None]
        outer = count[..., None, None] * gap[..., :, None] * gap[..., None, :]
        covariance = jnp.sum(scatter + outer, axis=0) / n[..., None]
        eye = jnp.eye(sample.shape[1])[None]
        enough = total > sample.shape[1]
        covariance = jnp.where(enough[:, None, None], covariance + _EPSILON * eye, eye)
        return jnp.sum(jnp.linalg.slogdet(covariance)[1]) / 4


def moments(x: jax.Array, where: jax.Array) -> dict[str, jax.Array]:
    """Number, mean and summed squares around it of the samples of each class.

    Args:
      x: [N, D] float32.
      where: [C, N] bool, the samples of each class.

    Returns:
      'count' [C], 'mean' [C, D] and 'scatter' [C, D, D], float32.
    """
    count = jnp.sum(where, axis=1, dtype=jnp.float32)
    mean = where.astype(x.dtype) @ x / jnp.maximum(count, 1)[:, None]
    centred = jnp.where(where[..., None], x[None] - mean[:, None], 0)
    return dict(
        count=count, mean=mean, scatter=jnp.einsum("cnd,cne->cde", centred, centred)
    )


class _Estimator(nn.Module):
    """A Gaussian of y given x, and the samples of y for its entropy."""

    entropy: bool

    @nn.compact
    def __call__(self, x, y):
        """[B, D], [B, E] -> log-likelihoods [B] without constants, samples [B, E // 4] or None; float32."""

        def layers(name):
            h = nn.relu(Linear(y.shape[-1], name=f"{name}_1")(x))
            return Linear(y.shape[-1], name=f"{name}_2")(h).astype(jnp.float32)

        gap = jnp.square(layers("mean") - y.astype(jnp.float32))
        likelihood = -jnp.sum(gap * jnp.exp(-layers("log_variance")) / 2, axis=-1)
        if not self.entropy:
            return likelihood, None
        sample = jnp.tanh(Linear(y.shape[-1] // 4, name="entropy")(y))
        return likelihood, sample.astype(jnp.float32)


class _Predictor(nn.Module):
    """What the fusion says of a modality."""

    layers: int

    @nn.compact
    def __call__(self, x, z):
        """x [B, D], z [B, F] -> [B, D]."""
        h = Linear(x.shape[-1], name="layer_1")(z)
        for i in range(1, self.layers):
            h = Linear(x.shape[-1], name=f"layer_{i + 1}")(jnp.tanh(h) if i == 1 else h)
        return h
