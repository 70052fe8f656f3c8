"""IML-CMM: KAN and Transformer layers within each modality, AHL across them, and training on mixed audio and vision.

Zhang, Yang and Zhang, "IML-CMM: A Multimodal Sentiment Analysis Framework Integrating
Intra-Modal Learning and Cross-Modal Mixup Enhancement". There is no public code: the
paper joins ALMT's blocks, efficient-kan's layers and AV-MC's losses, and where it is
silent these decide. What it leaves open is a field here, and this is set:
- Inputs of KAN layers are normalised: splines are zero beyond their grid.
- Equation 27 lacks the label of all modalities, which Table 5 trains on (M).
- Where text, audio or vision predict, they do from the tokens that the others read.
- Without KAN a layer is linear with a ReLU, and a head linear.
- Without AHL the fusion reads the tokens of all three modalities.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from msajax.data.spec import MODALITIES
from msajax.encoders import Encoder
from msajax.encoders.steps import make_encoder, text_steps
from msajax.models.base import Batch, Model, Outputs
from msajax.models.iml_cmm import kan
from msajax.models.iml_cmm.layers import AttentionPool, NormedLayer
from msajax.models.iml_cmm.splines import Grid
from msajax.nn import mixup
from msajax.nn.ahl import AHL
from msajax.nn.mixup import Mixup
from msajax.nn.token_transformer import ACTIVATIONS, TokenFusion, TokenTransformer

_ALL = "all"  # M, the label of all modalities together
_CHOICES = {
    "mix_at": ("features", "tokens"),
    "mix_labels": ("blend", "mixture"),
    "mix_terms": ("own", "all"),
    "ffn": tuple(ACTIVATIONS),
}


class IMLCMM(Model):
    """Intra-modal learning and cross-modal mixup.

    Modalities whose own label the data lacks, or of weight 0, predict nothing.

    Attributes:
      encoder: the network that reads word pieces, from config.text; None takes the
        text features of the data.
      dim: common width d.
      tokens: number of tokens to which each modality is reduced.
      heads, head_dim, mlp_dim: number of heads, width of a head and feed-forward width
        of the Transformers.
      ffn: activation of their feed-forward blocks: 'relu', as in equation 7, or
        'gelu', ALMT's.
      embedding_layers, fusion_layers: number of layers of the Transformers that make
        the tokens, and of the fusion.
      ahl_layers: number of layers of the hyper-modality learning, whose heads are dim /
        heads wide; 0 leaves it out.
      attention_dim: d_att of the attention pooling.
      kan: KAN layers; False takes linear ones.
      grid_size, order, grid_range: splines of the KAN layers: number of intervals of
        their grid, their order, and the range of the grid.
      weights: weights of the losses on the labels of all modalities (M), text, audio,
        vision.
      mixed: modalities that are mixed in training, each in a forward pass of its own.
      alpha: a mixup's share is from Beta(alpha, alpha).
      mix_at: what is mixed: raw 'features', or the modality's 'tokens', as AV-MC's
        semi-supervised form mixes hidden features.
      mix_labels: 'blend': the loss on the mixed label (equations 22 to 24);
        'mixture': the mixture of the losses on both labels, AV-MC's. Of classes both
        are the same.
      mix_terms: losses on a mixed batch. 'own': equations 23 and 24, of the mixed
        modality's own prediction alone, so that the fusion sees no mixed rows; where
        that modality predicts nothing, of M's prediction. 'all': AV-MC's, the losses
        of all tasks by their weights, with the mixed modality's and M's labels mixed.
      mix_weights: weights of the losses on mixed audio and mixed vision: gamma alpha
        and gamma beta of equations 25 and 26.
      activation, entropy: lambda_act and lambda_ent of the spline functions
        (equations 3 and 16).
      remat, scan: options of the encoder's layers, as in `TextOnly`.
    """

    encoder: Encoder | None = None
    dim: int = 128
    tokens: int = 8
    heads: int = 8
    head_dim: int = 64
    mlp_dim: int = 128
    ffn: str = "relu"
    embedding_layers: int = 1
    fusion_layers: int = 4
    ahl_layers: int = 3
    attention_dim: int = 128
    kan: bool = True
    grid_size: int = 5
    order: int = 3
    grid_range: tuple[float, float] = (-1.0, 1.0)
    weights: tuple[float, float, float, float] = (1.0, 0.2, 0.8, 0.4)
    mixed: tuple[str, ...] = ("audio", "vision")
    alpha: float = 1.0
    mix_at: str = "features"
    mix_labels: str = "blend"
    mix_terms: str = "own"
    mix_weights: tuple[float, float] = (1.0, 1.0)
    activation: float = 0.0
    entropy: float = 0.0
    remat: bool = False
    scan: bool = False

    @property
    def notes(self) -> tuple[str, ...]:
        """Says which labels the data lacks."""
        return tuple(
            f"the data has no label_{m}: the loss on {m} alone falls away"
            for m in MODALITIES
            if self._weights[m] and f"label_{m}" not in self.spec.fields
        )

    def setup(self):
        """Makes the parts that the fields and the data ask for."""
        self.check_choices(_CHOICES)
        if unknown := set(self.mixed) - {"audio", "vision"}:
            raise ValueError(
                f"config.model.mixed has {sorted(unknown)}; choose from audio, vision"
            )
        self.bert = make_encoder(self.encoder, remat=self.remat, scan=self.scan)
        sizes: Any = dict(heads=self.heads, mlp_dim=self.mlp_dim, activation=self.ffn)
        if self.ahl_layers:
            self.ahl = AHL(
                layers=self.ahl_layers,
                head_dim=self.dim // self.heads,
                text_heads=self.heads,
                text_head_dim=self.head_dim,
                **sizes,
            )
        sizes["head_dim"] = self.head_dim
        self.project = {m: self._kan(self.dim, hidden=True) for m in MODALITIES}
        self.embed = {
            m: TokenTransformer(self.tokens, length, self.embedding_layers, **sizes)
            for m, length in zip(MODALITIES, self.spec.lengths, strict=True)
        }
        self.fusion = TokenFusion(self.fusion_layers, **sizes)
        self.head = self._kan(self.spec.num_outputs)
        tasks = [m for m in self._tasks if m != _ALL]
        self.pool = {m: AttentionPool(self.attention_dim) for m in tasks}
        self.own_head = {m: self._kan(self.spec.num_outputs) for m in tasks}

    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Predictions.

        Args:
          batch, train: as in `Model`.

        Returns:
          'pred'; 'text', 'audio', 'vision': the tokens [B, tokens, dim]; 'fusion'
          [B, dim]; 'pred_text', ... of the modalities that predict, like 'pred'.
        """
        return self.passes(batch, {}, train=train)[0]

    # The network (sections 3.2 to 3.4) -------------------------------------------

    def passes(
        self, batch: Batch, mixes: dict[str, Mixup], *, train: bool
    ) -> list[Outputs]:
        """The network on a batch, and on the batch with each mix as far as its loss reads it.

        What a mix does not change runs once, the text's encoder above all; what it
        changes runs on the rows of all passes together.

        Args:
          batch, train: as in `Model`.
          mixes: by the modality that is mixed.

        Returns:
          As `__call__`, of each pass; of one that the fusion does not see, the mixed
          modality's tokens and prediction alone.
        """
        tokens = self._tokens(batch, mixes, train=train)
        own = {}
        for m, head in self.own_head.items():
            h = tokens[m]
            own[m] = head(self.pool[m](h, jnp.ones(h.shape[:2], bool)))
        # All fused passes, [P B, n, D]; a mixed modality's second rows are the mixed ones.
        rows, order = batch["valid"].shape[0], (None, *filter(self._fuses, mixes))
        stacked = {
            m: jnp.concatenate(
                [h[rows:] if m == mixed else h[:rows] for mixed in order]
            )
            for m, h in tokens.items()
        }
        fusion = self._fuse(stacked)
        pred = self.squeeze_single(self.head(fusion))
        out: dict[str | None, Outputs] = {
            m: {m: tokens[m][rows:], f"pred_{m}": self.squeeze_single(own[m][rows:])}
            for m in mixes
            if m not in order
        }
        for i, mixed in enumerate(order):
            part = slice(i * rows, (i + 1) * rows)
            made = {m: h[part] for m, h in stacked.items()}
            for m, y in own.items():
                made[f"pred_{m}"] = self.squeeze_single(
                    y[rows:] if m == mixed else y[:rows]
                )
            out[mixed] = {"pred": pred[part], "fusion": fusion[part], **made}
        return [out[mixed] for mixed in (None, *mixes)]

    def _fuses(self, mixed: str) -> bool:
        """Whether the losses on a mixed modality read the fusion."""
        return self.mix_terms == "all" or mixed not in self._tasks

    def _tokens(
        self, batch: Batch, mixes: dict[str, Mixup], *, train: bool
    ) -> dict[str, jax.Array]:
        """H_m^1 of each modality, [B, n, D]; of a mixed one [2 B, n, D], the mix behind it."""
        x, tokens = text_steps(self.bert, batch, train=train), {}
        for m in MODALITIES:
            steps, mask = x[m], x[f"{m}_mask"]
            mix = mixes.get(m)
            if mix is not None and self.mix_at == "features":
                both = zip((steps, mask), mix.sequences(steps, mask), strict=True)
                steps, mask = map(jnp.concatenate, both)
            h = self.embed[m](self.project[m](steps), mask)
            if mix is not None and self.mix_at == "tokens":
                h = jnp.concatenate([h, mix.blend(h, mix.partners(h))])
            tokens[m] = h
        return tokens

    def _fuse(self, tokens: dict[str, jax.Array]) -> jax.Array:
        """Tokens of the modalities, [B, n, D] each -> [B, D]."""
        h = [tokens[m] for m in MODALITIES]
        if not self.ahl_layers:
            return self.fusion(jnp.concatenate(h, axis=1))
        return self.fusion(self.ahl(*h)[0])

    def _kan(self, features: int, *, hidden: bool = False) -> nn.Module:
        grid = Grid(self.grid_size, self.order, *self.grid_range)
        return NormedLayer(features, grid if self.kan else None, relu=hidden)

    # Mixup and the losses (sections 3.5 and 3.6) -----------------------------------

    def loss(
        self, batch: Batch, *, train: bool, progress: dict[str, jax.Array]
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Equation (32); in evaluation the loss of the batch as it is."""
        del progress
        mixes = {}
        mixed = [m for m in self.mixed if m in self.spec.modalities]
        for m in mixed if train else ():
            key, rows = self.make_rng("mixup"), self.present(batch, m)
            mixes[m] = mixup.draw(key, rows, alpha=self.alpha)
        return self.loss_of_mixes(batch, mixes, train=train)

    def loss_of_mixes(
        self, batch: Batch, mixes: dict[str, Mixup], *, train: bool
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The loss of given mixes; arguments as of `passes`, returns as of `loss`."""
        clean, *others = self.passes(batch, mixes, train=train)
        losses = {
            task: self._loss(task, clean, batch[label], batch)
            for task, label in self._tasks.items()
        }
        total = self._weighted(losses)
        terms = {"pred": clean["pred"].astype(jnp.float32), **losses}
        weights: Any = dict(zip(("audio", "vision"), self.mix_weights, strict=True))
        for (m, mix), out in zip(mixes.items(), others, strict=True):
            terms[f"{m}_mix"] = self._mix_loss(m, mix, out, clean, batch)
            total += weights[m] * terms[f"{m}_mix"]
        if train and self.kan and (self.activation or self.entropy):
            options = dict(activation=self.activation, entropy=self.entropy)
            params = self.variables["params"]
            terms["penalty"] = kan.regularization(params, **options)
            total += terms["penalty"]
        return total, terms

    def _mix_loss(
        self, mixed: str, mix: Mixup, out: Outputs, clean: Outputs, batch: Batch
    ) -> jax.Array:
        """The loss on a batch with a mixed modality."""
        if self.mix_terms == "own":  # no modality's weight in (25), (26) and (32)
            task = _ALL if self._fuses(mixed) else mixed
            return self._consistency(task, mix, out, clean, batch)
        losses = {
            task: self._consistency(task, mix, out, clean, batch)
            if task in (_ALL, mixed)
            else self._loss(task, out, batch[label], batch)
            for task, label in self._tasks.items()
        }
        return self._weighted(losses)

    def _consistency(
        self, task: str, mix: Mixup, out: Outputs, clean: Outputs, batch: Batch
    ) -> jax.Array:
        """A task's loss on mixed labels: equation (23) or (24)."""
        # Rows without labels count where they have the network's predictions for them.
        everyone = {k: v for k, v in batch.items() if k != "labelled"}
        label = self._guessed(task, batch[self._tasks[task]], clean, batch)
        both = label, mix.partners(label)
        if self.mix_labels == "blend" and not self.spec.classes:
            return self._loss(task, out, mix.blend(*both), everyone)
        return mix.blend(*(self._loss(task, out, y, everyone) for y in both))

    def _guessed(
        self, task: str, label: jax.Array, out: Outputs, batch: Batch
    ) -> jax.Array:
        """Labels of a task, [B]; of rows without them what the network predicts."""
        if "labelled" not in batch:
            return label
        pred = jax.lax.stop_gradient(self._pred(task, out))
        pred = jnp.argmax(pred, axis=-1) if self.spec.classes else pred
        return jnp.where(batch["labelled"], label, pred.astype(label.dtype))

    def _loss(
        self, task: str, out: Outputs, label: jax.Array, batch: Batch
    ) -> jax.Array:
        if task != _ALL:
            batch = {**batch, "valid": self.present(batch, task)}
        label = label.astype(batch["label"].dtype)  # of classes, numbers
        return self.task_loss(self._pred(task, out), {**batch, "label": label})

    def _pred(self, task: str, out: Outputs) -> jax.Array:
        return out["pred" if task == _ALL else f"pred_{task}"].astype(jnp.float32)

    def _weighted(self, losses: dict[str, jax.Array]) -> jax.Array:
        weighted = (self._weights[task] * loss for task, loss in losses.items())
        return sum(weighted, start=jnp.zeros(()))

    @property
    def _weights(self) -> dict[str, float]:
        return dict(zip((_ALL, *MODALITIES), self.weights, strict=True))

    @property
    def _tasks(self) -> dict[str, str]:
        """The label of M, and of each modality that predicts its own, by task."""
        own = {m: f"label_{m}" for m in MODALITIES if self._weights[m]}
        own = {m: label for m, label in own.items() if label in self.spec.fields}
        return {_ALL: "label", **own}
