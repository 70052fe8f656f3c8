"""HyDiscGAN, built from the published description: audio and vision are generated from the text, which alone is needed in the end.

Wu, Zhang, Miao, Yi, Fan and Hu, "HyDiscGAN: A Hybrid Distributed cGAN for Audio-Visual
Privacy Preservation in Multimodal Sentiment Analysis", IJCAI 2024 (arXiv 2404.11938). There is
no public code, and only its abstract and a summary were read. Established: generators of audio
and vision from the text, discriminators at the clients that have the real features, contrastive
losses, a first stage that aligns what is generated with what is real, a second stage
that learns the sentiment with the discriminators as they are, and predictions from the text
alone. All else is ours, and a field: the generators (learned queries, with noise in training,
that read the text in a Transformer decoder), the discriminators (a Transformer whose mean is
judged beside the text's vector), the losses (binary cross-entropy, and supervised contrasts
of the generated and real vectors by row and by sentiment), the fusion (a decoder each in which the text reads
what is generated), the sizes and weights. Nothing is distributed here: the
regexes of the phases alone keep apart what clients and server train. The phases are
`discriminator_loss`, `generator_loss` (stage 1) and `loss` (stage 2). No figure of the paper is claimed.
"""

import functools
from collections.abc import Callable
from typing import Annotated

import flax.linen as nn
import jax
import jax.numpy as jnp
from annotated_types import Gt

from msajax import losses, parallel
from msajax.encoders import Encoder
from msajax.encoders.steps import make_encoder, text_steps
from msajax.encoders.summary import summary_steps
from msajax.models.base import Batch, Model, Outputs
from msajax.nn.attention import MultiHeadAttention
from msajax.nn.dropout import Dropout
from msajax.nn.linear import FeedForward, Linear
from msajax.nn.masks import visible
from msajax.nn.norm import LayerNorm
from msajax.nn.pooling import mean_pool
from msajax.nn.post_norm import PostNormLayer

Width = Annotated[int, Gt(0)]
_CHOICES = {"pooling": ("cls", "mean")}


class HyDiscGAN(Model):
    """Conditional GANs from text to audio and vision, and a fusion of what they generate.

    A modality that the data lacks has no parameters.

    Attributes:
      encoder: the network that reads word pieces, from config.text; None takes the text
        features of the data.
      pooling: the text's one vector: 'cls', by `summary_steps`, or 'mean'.
      dim: width of all sequences.
      steps: number of steps that are generated, whatever the length of the real sequence.
      layers, heads, hidden: number of layers of each generator, discriminator and decoder of
        the fusion, of their heads, and width of their feed-forward blocks.
      noise: standard deviation of what is added to the queries in training.
      out_dim: width of the hidden layers of the discriminators and of the output.
      dropout: dropout rate in all Transformers and before the last layer.
      alignment: weight of the generators' losses beside the task's.
      contrast: weight of both contrastive losses among the generators'.
      temperature: divisor of the cosines in the contrasts.
      remat, scan: options of the encoder's layers, as in `TextOnly`.

    Raises:
      ValueError: the data has no text, or nothing else.
    """

    encoder: Encoder | None = None
    pooling: str = "cls"
    dim: Width = 64
    steps: Width = 16
    layers: Width = 1
    heads: Width = 4
    hidden: Width = 128
    noise: float = 0.1
    out_dim: Width = 64
    dropout: float = 0.1
    alignment: float = 0.1
    contrast: float = 1.0
    temperature: Annotated[float, Gt(0)] = 0.5
    remat: bool = False
    scan: bool = False

    def setup(self):
        """Makes the network, and what the losses of its phases read beside it."""
        self.check_choices(_CHOICES)
        text, *self.made = self.compared()
        if text != "text":
            raise ValueError(
                "hydiscgan generates the other modalities from the text, which the data lacks; "
                "set config.data.modalities to text and at least one other"
            )
        sizes = self.layers, self.heads, self.hidden, self.dropout
        self.bert = make_encoder(self.encoder, remat=self.remat, scan=self.scan)
        self.project = Linear(self.dim)
        self.real = {m: _Real(self.dim) for m in self.made}
        self.generator = _Generator(self.steps, *sizes)
        self.discriminator = _Discriminator(self.out_dim, *sizes)
        self.attend = _Decoder(*sizes)
        self.out = FeedForward(self.out_dim, self.spec.num_outputs, self.dropout)

    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Predictions, from the text alone.

        Returns:
          'pred'; 'text' [B, D], its vector; 'fake' [M, B, steps, dim], the M modalities that
          are generated of audio and vision; 'fusion' [B, (1 + M) dim].
        """
        read = text_steps(self.bert, batch, train=train)
        mask, cls = read["text_mask"], self.pooling == "cls"
        own = summary_steps(self.encoder, mask) if cls else mask
        text, x = mean_pool(read["text"], own), self.project(read["text"])
        fake = _each(
            lambda generator, noise: generator(x, mask, noise, train=train),
            self.generator,
            self._noise(x.shape[0], train).astype(x.dtype),
        )
        read = _each(
            lambda attend, h: attend(
                x, h, masks=(mask, jnp.ones(h.shape[:2], bool)), train=train
            ),
            *(self.attend, fake),
        )
        fused = [mean_pool(h, mask) for h in (x, *read)]
        fusion = jnp.concatenate(fused, axis=-1)
        pred = self.squeeze_single(self.out(fusion, train=train))
        out = dict(pred=pred, text=text, fake=fake, fusion=fusion)
        if self.is_initializing():  # what the losses alone read
            self._judge(*self._real(batch), out, train)
        return out

    def _noise(self, rows: int, train: bool) -> jax.Array:
        """What is added to the queries: [M, B, steps, dim], zeros in evaluation."""
        shape = len(self.made), self.steps, self.dim
        if not train:
            return jnp.zeros((shape[0], rows, *shape[1:]))
        key = self.make_rng("noise")
        drawn = parallel.draw(lambda n: jax.random.normal(key, (n, *shape)), rows)
        return self.noise * jnp.moveaxis(drawn, 1, 0)

    def _real(self, batch: Batch) -> tuple[jax.Array, jax.Array]:
        """Real sequences [M, B, L, dim] at the width of generated ones, and their masks [M, B, L]."""
        sizes = [batch[m].shape[1] for m in self.made]
        found = []
        for m, size in zip(self.made, sizes, strict=True):
            extra = (0, max(sizes) - size)
            x = jnp.pad(self.real[m](batch[m]), ((0, 0), extra, (0, 0)))
            found.append((x, jnp.pad(batch[f"{m}_mask"], ((0, 0), extra))))
        x, masks = (jnp.stack(v) for v in zip(*found, strict=True))
        return x, masks

    def _judge(
        self, x: jax.Array, masks: jax.Array, out: Outputs, train: bool
    ) -> jax.Array:
        """The discriminators' logits of sequences of each modality: [M, B, L, dim], [M, B, L] bool -> [M, B]."""
        return _each(
            lambda judge, *args: judge(*args, out["text"], train=train),
            self.discriminator,
            *(x, masks),
        )

    def _judge_fake(self, out: Outputs, train: bool) -> jax.Array:
        every = jnp.ones(out["fake"].shape[:3], bool)
        return self._judge(out["fake"], every, out, train)

    def discriminator_loss(
        self, batch: Batch, *, train: bool, progress: dict[str, jax.Array]
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The sum over modalities of the cross-entropies of what is real and what is generated.

        It has a gradient of the discriminators alone.
        """
        del progress
        out, has = self(batch, train=train), self._compared(batch)
        pred = out["pred"].astype(jnp.float32)
        out, (x, masks) = jax.lax.stop_gradient((out, self._real(batch)))
        real = _total(nn.softplus(-self._judge(x, masks, out, train)), has)
        fake = _total(nn.softplus(self._judge_fake(out, train)), has)
        return real + fake, {"pred": pred, "real": real, "fake": fake}

    def generator_loss(
        self, batch: Batch, *, train: bool, progress: dict[str, jax.Array]
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The sum over modalities of what the generators are to reach."""
        del progress
        out = self(batch, train=train)
        total, terms = self._alignment(out, batch, train)
        return total, {"pred": out["pred"].astype(jnp.float32), **terms}

    def loss(
        self, batch: Batch, *, train: bool, progress: dict[str, jax.Array]
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The task's loss and the generators' weighted one; or, in evaluation and without a weight, the task's alone."""
        del progress
        out = self(batch, train=train)
        pred = out["pred"].astype(jnp.float32)
        task = self.task_loss(pred, batch)
        if not (train and self.alignment):
            return task, {"pred": pred}
        total, terms = self._alignment(out, batch, train)
        return task + self.alignment * total, {"task": task, **terms}

    def _alignment(
        self, out: Outputs, batch: Batch, train: bool
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Deceived discriminators, and contrasts of generated and real vectors over the global batch.

        The contrasts are of each row's two vectors among those of all rows ('pairs'), and of
        those of the same sign of the label, or class ('sentiment').
        """
        label, has = batch["label"], self._compared(batch)
        deceit = _total(nn.softplus(-self._judge_fake(out, train)), has)
        real = jax.vmap(mean_pool)(*self._real(batch))
        vectors = jnp.stack([jnp.mean(out["fake"], axis=2), real])  # [2, M, B, dim]
        sign = label if self.spec.classes else jnp.sign(label).astype(jnp.int32)
        vectors, has = parallel.gather(vectors, dim=2), parallel.gather(has, dim=1)
        sign, labelled = map(parallel.gather, (sign, self.counted(batch)))

        both = jnp.concatenate([*vectors], axis=1).astype(jnp.float32)  # [M, 2 N, dim]
        groups = jnp.stack([jnp.arange(sign.shape[0]), sign])
        counted = jnp.stack([has, has & labelled[None]])  # [2, M, N]

        def contrast(group: jax.Array, where: jax.Array) -> jax.Array:
            alone = functools.partial(
                losses.supervised_contrast,
                group=jnp.tile(group, 2),
                temperature=self.temperature,
            )
            values = jax.vmap(lambda x, w: alone(x, where=jnp.tile(w, 2)))(both, where)
            return jnp.sum(values)

        pairs, sentiment = jax.vmap(contrast)(groups, counted)
        terms = dict(deceit=deceit, pairs=pairs, sentiment=sentiment)
        return deceit + self.contrast * (pairs + sentiment), terms

    def _compared(self, batch: Batch) -> jax.Array:
        """Rows that have a modality, and the text that it is generated from: [M, B] bool."""
        text = self.present(batch, "text")
        return jnp.stack([self.present(batch, m) & text for m in self.made])


def _each(apply: Callable, module: nn.Module, *arrays: jax.Array) -> jax.Array:
    """A module with parameters of its own for each modality: arrays [M, ...] -> [M, ...].

    Compiled once, not once a modality: parameters have a leading axis [M].
    """
    mapped = nn.vmap(
        apply,
        variable_axes={"params": 0},
        split_rngs={"params": True, "dropout": True},
    )
    return mapped(module, *arrays)


def _total(values: jax.Array, where: jax.Array) -> jax.Array:
    """The sum over modalities of the means over rows that count: [M, B], [M, B] bool -> a scalar."""
    means = [
        parallel.batch_mean(v, where=w) for v, w in zip(values, where, strict=True)
    ]
    return jnp.sum(jnp.stack(means))


class _Decoder(nn.Module):
    """Layers in which a sequence reads another, then itself."""

    layers: int
    heads: int
    hidden: int
    dropout: float

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        source: jax.Array,
        *,
        masks: tuple[jax.Array, jax.Array],
        train: bool,
    ) -> jax.Array:
        """[B, Q, D], [B, K, D], masks of both, [B, Q] and [B, K] bool -> [B, Q, D]."""
        own, keys = (visible(masks[0], mask, causal=False) for mask in masks)
        drop = Dropout(self.dropout, deterministic=not train)
        sizes = self.heads, self.hidden, self.dropout
        for i in range(self.layers):
            read = MultiHeadAttention(self.heads, self.dropout, name=f"read_{i}")
            x += drop(read(x, source, source, mask=keys, train=train))
            x = LayerNorm(name=f"norm_{i}")(x)
            x = PostNormLayer(*sizes, name=f"layer_{i}")(x, mask=own, train=train)
        return x


class _Generator(nn.Module):
    """Learned queries, beside noise, that read a sequence in a Transformer decoder."""

    steps: int
    layers: int
    heads: int
    hidden: int
    dropout: float

    @nn.compact
    def __call__(
        self, x: jax.Array, mask: jax.Array, noise: jax.Array, *, train: bool
    ) -> jax.Array:
        """[B, L, D], [B, L] bool, [B, steps, D] -> [B, steps, D]."""
        shape = self.steps, x.shape[-1]
        queries = self.param("queries", nn.initializers.normal(1.0), shape)
        h = queries[None] + noise
        sizes = self.layers, self.heads, self.hidden, self.dropout
        masks = jnp.ones(h.shape[:2], bool), mask
        return _Decoder(*sizes, name="decoder")(h, x, masks=masks, train=train)


class _Real(nn.Module):
    """Real features at the width of generated ones: [B, L, D] -> [B, L, dim]."""

    dim: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return LayerNorm(name="norm")(Linear(self.dim, name="project")(x))


class _Discriminator(nn.Module):
    """A Transformer, and a logit of its mean beside the vector of the text."""

    out_dim: int
    layers: int
    heads: int
    hidden: int
    dropout: float

    @nn.compact
    def __call__(
        self, x: jax.Array, mask: jax.Array, text: jax.Array, *, train: bool
    ) -> jax.Array:
        """[B, L, dim], [B, L] bool, [B, D] -> [B] float32, large for what looks real."""
        keys = visible(mask, mask, causal=False)
        for i in range(self.layers):
            layer = PostNormLayer(
                self.heads, self.hidden, self.dropout, name=f"layer_{i}"
            )
            x = layer(x, mask=keys, train=train)
        both = jnp.concatenate([mean_pool(x, mask), text], axis=-1)
        head = FeedForward(self.out_dim, 1, self.dropout, name="out")
        return head(both, train=train)[..., 0].astype(jnp.float32)
