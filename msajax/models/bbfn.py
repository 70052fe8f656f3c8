"""BBFN: text with vision, and text with audio, in gated Transformers that keep modalities apart.

Han, Chen, Gelbukh, Zadeh, Morency and Poria, "Bi-Bimodal Modality Fusion for
Correlation-Controlled Multimodal Sentiment Analysis", ICMI 2021; the network is that of
declare-lab/BBFN, as are the defaults. It has no positions and no last LayerNorm: the authors
make both and use neither, as the dropout of embeddings and of the control vectors. The
discriminators and what they read are trained together, without a reversal of gradients; the
authors' README trains without them (`discrimination=0`). The prediction is read off the first
step, which is [CLS] where an encoder reads the text (another encoder's by `step_zero`). Unlike in the authors' code, a
convolution does not read what an encoder makes of padding (`padded` restores it), a row may
lack a modality, data that is not aligned can be pooled to the text's steps, recurrent
kernels do not start orthogonal, and nothing is selected on the test split.
"""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from msajax import parallel
from msajax.data.spec import MODALITIES
from msajax.encoders import Encoder
from msajax.encoders.steps import make_encoder, own_steps, text_steps
from msajax.encoders.summary import step_zero
from msajax.models.base import Batch, Model, Outputs
from msajax.nn.align import to_text
from msajax.nn.attention import MultiHeadAttention
from msajax.nn.convolution import TemporalConvolution
from msajax.nn.dropout import Dropout
from msajax.nn.linear import Linear
from msajax.nn.masks import visible
from msajax.nn.norm import LayerNorm
from msajax.nn.pooling import final_states, mean_pool
from msajax.nn.recurrent import Recurrent
from msajax.nn.words import WordEmbedding

_CHOICES = {"projection": ("cnn", "lstm", "gru")}
OTHERS = ("audio", "vision")


class BBFN(Model):
    """Bi-bimodal fusion.

    Attributes:
      encoder: the network that reads word pieces, from config.text; None takes the
        text features of the data.
      align: pool audio and vision to the text's steps; False where they have a row for each.
      dim: width of all streams.
      heads, layers: number of heads and of layers of each of the two Transformers.
      projection: how each modality is projected to `dim`: by a convolution ('cnn'), or
        by a network that is recurrent in both directions ('lstm', 'gru').
      kernel_sizes: kernel sizes of the convolutions over text, audio and vision.
      word_dim: width of words' vectors, where the text is words of a vocabulary.
      attention_dropout, relu_dropout, residual_dropout: dropout rates in the
        Transformers: on attention weights, inside the feed-forward blocks and before
        the residual sums.
      dropout: dropout rate before the output.
      discrimination: weight λ_d of the discriminators' loss.
      padded: convolutions read the encoder's states of padding, as in the authors' code.
      remat, scan: options of the encoder's layers, as in `TextOnly`.
    """

    own_words: ClassVar[bool] = True

    criterion: str = "mse"
    encoder: Encoder | None = None
    align: bool = False
    dim: int = 40
    heads: int = 5
    layers: int = 5
    projection: str = "cnn"
    kernel_sizes: tuple[int, int, int] = (3, 3, 3)
    word_dim: int = 300
    attention_dropout: float = 0.1
    relu_dropout: float = 0.1
    residual_dropout: float = 0.1
    dropout: float = 0.0
    discrimination: float = 0.1
    padded: bool = False
    remat: bool = False
    scan: bool = False

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Predictions.

        Args:
          batch: as in `Model`.
          train: as in `Model`.

        Returns:
          'pred'; 'fusion' [B, 4 dim]; 'steps_m' [B, L, dim] and 'vector_m' [B, dim], the
          projected modalities; of each modality m but text 'stream_m' [B, 2, L, dim],
          'control_m' [B, layers, 2, dim] and 'score_m' [B, layers, 2], text before m each: the
          last sequences, what controls each layer's gates, and its discriminator's logits of m.
        """
        self.check_choices(_CHOICES)
        x, masks = self._aligned(batch, train)
        text, out, first = own_steps(batch)["text_mask"], {}, []
        for m, size in zip(MODALITIES, self.kernel_sizes, strict=True):
            read = _Projection(self.dim, self.projection, size, name=f"project_{m}")
            out[f"steps_{m}"], out[f"vector_{m}"] = read(x[m], masks[m], self.padded)
        settings = dict(
            heads=self.heads,
            attention_dropout=self.attention_dropout,
            relu_dropout=self.relu_dropout,
            residual_dropout=self.residual_dropout,
        )
        for m in OTHERS:
            tower = _Tower(self.layers, settings, name=f"text_{m}")
            pair = ("text", m)
            streams, control, score = tower(
                *(
                    tuple(out[f"{kind}_{k}"] for k in pair)
                    for kind in ("steps", "vector")
                ),
                masks=tuple(masks[k] for k in pair),
                train=train,
            )
            first += [step_zero(self.encoder, h, text) for h in streams]
            out[f"stream_{m}"] = jnp.stack(streams, axis=1)
            out |= {f"control_{m}": control, f"score_{m}": score}
        fusion = jnp.concatenate(first, axis=-1)
        h = nn.relu(Linear(4 * self.dim, name="fc1")(fusion))
        h = Dropout(self.dropout)(h, deterministic=not train)
        fusion += Linear(4 * self.dim, name="fc2")(h)
        pred = Linear(self.spec.num_outputs, name="head")(fusion)
        return {"pred": self.squeeze_single(pred), **out, "fusion": fusion}

    def _aligned(
        self, batch: Batch, train: bool
    ) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
        """The modalities at the text's steps, and for each the row's steps, if it has the modality."""
        if self.spec.vocabulary:
            embed = WordEmbedding(self.spec.vocabulary, self.word_dim, name="words")
            batch = {**batch, "text": embed(batch["text_ids"])}
        else:
            encoder = make_encoder(self.encoder, remat=self.remat, scan=self.scan)
            batch = text_steps(encoder, batch, train=train)
        pooled = to_text(batch, self.spec.lengths, pool=self.align)
        found = (batch["text"], batch["text_mask"]), *pooled
        steps = found[0][1] | found[1][1] | found[2][1]
        x, masks = {}, {}
        for m, (v, mask) in zip(MODALITIES, found, strict=True):
            x[m], masks[m] = v, steps & jnp.any(mask, axis=1, keepdims=True)
        return x, masks

    def loss(
        self, batch: Batch, *, train: bool, progress: dict[str, jax.Array]
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """L_task + λ_d L_D, also in evaluation, where the authors pick the checkpoint by it."""
        del progress
        out = self(batch, train=train)
        pred = out["pred"].astype(jnp.float32)
        task, total = self.task_loss(pred, batch), jnp.float32(0)
        for m in OTHERS:
            score = out[f"score_{m}"].astype(jnp.float32)
            wanted = jnp.broadcast_to(jnp.arange(2.0), score.shape)
            values = optax.sigmoid_binary_cross_entropy(score, wanted)
            where = self.present(batch, "text") & self.present(batch, m)
            total += parallel.batch_mean(jnp.mean(values, axis=(1, 2)), where=where)
        terms = {"pred": pred, "task": task, "discrimination": total / len(OTHERS)}
        return task + self.discrimination * terms["discrimination"], terms


class _Projection(nn.Module):
    """A modality's steps and its vector, in the common width."""

    dim: int
    kind: str
    kernel_size: int

    @nn.compact
    def __call__(self, x, mask, padded):
        """[B, L, D], mask [B, L] bool -> [B, L, dim], [B, dim]."""
        if self.kind == "cnn":
            read = TemporalConvolution(
                self.dim, self.kernel_size, same=True, name="cnn"
            )
            h, _ = read(x, jnp.ones_like(mask) if padded else mask)
            return h, mean_pool(h, mask)
        h = Recurrent(x.shape[-1], self.kind, True, name="recurrent")(x, mask)
        last = final_states(h, mask).reshape(x.shape[0], -1)
        vector = LayerNorm(name="norm")(Linear(self.dim, name="vector")(last))
        return Linear(self.dim, name="steps")(h), vector


class _Tower(nn.Module):
    """The layers of text and another modality."""

    layers: int
    settings: dict

    @nn.compact
    def __call__(self, streams, vectors, *, masks, train):
        """Two [B, L, dim], two [B, dim], masks two [B, L] -> streams, controls and scores of the layers."""
        options = dict(masks=masks, train=train)
        first = _Layer(**self.settings, name="first")
        streams, found = first(streams, vectors, **options)
        found = [x[None] for x in found]
        if self.layers > 1:
            # Compiled once, not once a layer: parameters have a leading axis [layers - 1].
            stack = nn.scan(
                lambda layer, streams, _: layer(streams, None, **options),
                variable_axes={"params": 0, "intermediates": 0},
                split_rngs={"params": True, "dropout": True},
                length=self.layers - 1,
                check_constancy_invariants=False,
            )
            later = _Layer(**self.settings, name="layers")
            streams, more = stack(later, streams, None)
            found = [jnp.concatenate(x) for x in zip(found, more, strict=True)]
        return streams, *(jnp.swapaxes(x, 0, 1) for x in found)


class _Layer(nn.Module):
    """Both streams attend to each other, through gates that both control."""

    heads: int
    attention_dropout: float
    relu_dropout: float
    residual_dropout: float

    @nn.compact
    def __call__(self, streams, vectors, *, masks, train):
        """Streams, and vectors or None -> new streams, (controls [B, 2, dim], scores [B, 2])."""
        dim, both = streams[0].shape[-1], ("text", "other")
        if vectors is not None:
            pairs = zip(both, vectors, strict=True)
            control = [Linear(dim, name=f"control_{k}")(v) for k, v in pairs]
        else:
            control = []
            for k, x, mask in zip(both, streams, masks, strict=True):
                h = Recurrent(dim, "gru", True, name=f"control_{k}")(x, mask)
                forward, backward = jnp.split(mean_pool(h, mask), 2, axis=-1)
                control.append((forward + backward) / 2)
        control = jnp.stack(control, axis=1)
        h = nn.relu(Linear(4 * dim, name="discriminator_1")(control))
        score = Linear(1, name="discriminator_2")(h)[..., 0]
        g = control.reshape(control.shape[0], -1)
        new = tuple(
            self._attend(
                k, streams[i], streams[1 - i], g, masks[i], masks[1 - i], train
            )
            for i, k in enumerate(both)
        )
        return new, (control, score)

    def _attend(self, k, x, source, control, mask, source_mask, train):
        """A stream after gated attention to the other and a feed-forward block."""
        dim, xavier = x.shape[-1], nn.initializers.xavier_uniform()
        residual = Dropout(self.residual_dropout, deterministic=not train)
        norm = LayerNorm(name=f"{k}_attention_norm")
        attention = MultiHeadAttention(
            self.heads, self.attention_dropout, name=f"{k}_attention"
        )
        seen = visible(mask, source_mask, causal=False) & mask[..., None]
        n, m = norm(x), norm(source)
        new = residual(attention(n, m, m, mask=seen, train=train))
        fuse, keep = (
            nn.sigmoid(Linear(dim, name=f"{k}_{gate}")(control))[:, None]
            for gate in ("fuse_gate", "keep_gate")
        )
        for name, gate in (("fuse", fuse), ("keep", keep)):
            self.sow("intermediates", f"{k}_{name}", gate[:, 0])
        x = new * fuse + x * keep
        h = LayerNorm(name=f"{k}_feed_forward_norm")(x)
        h = nn.relu(nn.Dense(4 * dim, kernel_init=xavier, name=f"{k}_fc1")(h))
        h = Dropout(self.relu_dropout, deterministic=not train)(h)
        return x + residual(nn.Dense(dim, kernel_init=xavier, name=f"{k}_fc2")(h))
