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
`discriminator_loss`, `generator_loss` (stage 1) and `loss` (stage 2); in each, the parts that
its recipe leaves as they are run without dropout. No figure of the paper is claimed.
"""

import functools
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
from msajax.models.hydiscgan.networks import (
    Decoder,
    Discriminator,
    Generator,
    Real,
    each,
)
from msajax.nn.linear import FeedForward, Linear
from msajax.nn.pooling import mean_pool

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
        self.real = {m: Real(self.dim) for m in self.made}
        self.generator = Generator(self.steps, *sizes)
        self.discriminator = Discriminator(self.out_dim, *sizes)
        self.attend = Decoder(*sizes)
        self.out = FeedForward(self.out_dim, self.spec.num_outputs, self.dropout)

    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Predictions, from the text alone.

        Returns:
          'pred'; 'text' [B, D], its vector; 'fake' [M, B, steps, dim], the M modalities that
          are generated of audio and vision; 'fusion' [B, (1 + M) dim].
        """
        x, mask, made = self._generate(batch, read=train, train=train, noisy=train)
        read = each(
            lambda attend, h: attend(
                x, h, masks=(mask, jnp.ones(h.shape[:2], bool)), train=train
            ),
            *(self.attend, made["fake"]),
        )
        fused = [mean_pool(h, mask) for h in (x, *read)]
        fusion = jnp.concatenate(fused, axis=-1)
        pred = self.squeeze_single(self.out(fusion, train=train))
        if self.is_initializing():  # what the losses alone read
            self._judge(*self._real(batch), made, train)
        return {"pred": pred, **made, "fusion": fusion}

    def _generate(
        self, batch: Batch, *, read: bool, train: bool, noisy: bool
    ) -> tuple[jax.Array, jax.Array, Outputs]:
        """The text [B, L, dim], its mask [B, L], and 'text' and 'fake' of the outputs.

        Args:
          batch: has the text.
          read: dropout in the network that reads it.
          train: dropout in the generators.
          noisy: add noise to the queries.
        """
        found = text_steps(self.bert, batch, train=read)
        mask, cls = found["text_mask"], self.pooling == "cls"
        own = summary_steps(self.encoder, mask) if cls else mask
        text, x = mean_pool(found["text"], own), self.project(found["text"])
        fake = each(
            lambda generator, noise: generator(x, mask, noise, train=train),
            self.generator,
            self._noise(x.shape[0], noisy).astype(x.dtype),
        )
        return x, mask, dict(text=text, fake=fake)

    def _noise(self, rows: int, noisy: bool) -> jax.Array:
        """What is added to the queries: [M, B, steps, dim], or zeros."""
        count, shape = len(self.made), (self.steps, self.dim)
        if not noisy:
            return jnp.zeros((count, rows, *shape))

        def draw(key: jax.Array) -> jax.Array:
            return parallel.draw(lambda n: jax.random.normal(key, (n, *shape)), rows)

        # In a loop, so that it is drawn once: else XLA puts the drawing, which is long, into
        # every operation that reads the queries.
        keys = jax.random.split(self.make_rng("noise"), count)
        return self.noise * jax.lax.map(draw, keys)

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
        self, x: jax.Array, masks: jax.Array, made: Outputs, train: bool
    ) -> jax.Array:
        """The discriminators' logits of sequences of each modality: [M, B, L, dim], [M, B, L] bool -> [M, B]."""
        return each(
            lambda judge, *args: judge(*args, made["text"], train=train),
            self.discriminator,
            *(x, masks),
        )

    def _judge_fake(self, made: Outputs, train: bool) -> jax.Array:
        every = jnp.ones(made["fake"].shape[:3], bool)
        return self._judge(made["fake"], every, made, train)

    def discriminator_loss(
        self, batch: Batch, *, train: bool, progress: dict[str, jax.Array]
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The sum over modalities of the cross-entropies of what is real and what is generated.

        It has a gradient of the discriminators alone.
        """
        del progress
        has = self._compared(batch)
        _, _, made = self._generate(batch, read=False, train=False, noisy=train)
        made, (x, masks) = jax.lax.stop_gradient((made, self._real(batch)))
        real = _total(nn.softplus(-self._judge(x, masks, made, train)), has)
        fake = _total(nn.softplus(self._judge_fake(made, train)), has)
        return real + fake, {"real": real, "fake": fake}

    def generator_loss(
        self, batch: Batch, *, train: bool, progress: dict[str, jax.Array]
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The sum over modalities of what the generators are to reach."""
        del progress
        _, _, made = self._generate(batch, read=False, train=train, noisy=train)
        return self._alignment(made, batch)

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
        total, terms = self._alignment(out, batch)
        return task + self.alignment * total, {"task": task, **terms}

    def _alignment(
        self, made: Outputs, batch: Batch
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Deceived discriminators, and contrasts of generated and real vectors over the global batch.

        The contrasts are of each row's two vectors among those of all rows ('pairs'), and of
        those of the same sign of the label, or class ('sentiment').
        """
        label, has = batch["label"], self._compared(batch)
        deceit = _total(nn.softplus(-self._judge_fake(made, False)), has)
        real = jax.vmap(mean_pool)(*self._real(batch))
        vectors = jnp.stack([jnp.mean(made["fake"], axis=2), real])  # [2, M, B, dim]
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


def _total(values: jax.Array, where: jax.Array) -> jax.Array:
    """The sum over modalities of the means over rows that count: [M, B], [M, B] bool -> a scalar."""
    means = [
        parallel.batch_mean(v, where=w) for v, w in zip(values, where, strict=True)
    ]
    return jnp.sum(jnp.stack(means))
