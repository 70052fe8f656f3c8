"""IMR, Multimodal Routing: capsules of modalities and of their pairs vote for concepts.

Tsai, Ma, Yang, Salakhutdinov and Morency, "Multimodal Routing: Improving Local and
Global Interpretability of Multimodal Language Analysis", EMNLP 2020; the defaults are
those of the authors' run.sh. Scores are classes to it, the whole numbers of the label's
range, and are trained by the cross-entropy; `criterion` has no effect. Unlike the
authors' code, a sample is computed as if it stood alone, as in `mult`: padding is not
attended to, the last real step is read, every real step has a position (`padded` and
`fairseq_zero_pos` restore their form), and data need not be aligned. Their predicted
score is a sum over raw logits, which grows with their size (`expected="logits"`); ours is
the mean over probabilities. Of their kinds of activation only 'ONES' runs.
"""

import math
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from msajax import losses, parallel
from msajax.data.spec import MODALITIES
from msajax.models.base import Batch, Model, Outputs
from msajax.nn.convolution import TemporalConvolution
from msajax.nn.dropout import Dropout
from msajax.nn.linear import Linear
from msajax.nn.masks import step_masks
from msajax.nn.pooling import last_step
from msajax.nn.transformer import CrossmodalEncoder

# The capsules; a pair is named after the modality that attends and the one it reads.
PAIRS = {"ta": "text_audio", "av": "audio_vision", "vt": "vision_text"}
TRIPLE = ("audio_text", "vision_audio", "text_vision")
CAPSULES = (*MODALITIES, *PAIRS.values(), "all")


class IMR(Model):
    """Multimodal Routing.

    Attributes:
      dim: common width d of the modalities.
      heads: number of heads of every attention.
      layers: number of layers of the encoders from one modality to another.
      self_layers: number of layers of the encoders of a modality alone, at least `layers`.
      pose_dim, concept_dim: widths of a capsule's pose and of a concept.
      routings: number of routings.
      causal: hide later keys.
      concept_dropout: dropout rate of the concepts, after each routing.
      attention_dropouts: dropout rates of attention weights, where the keys are text
        (and in the encoders of a modality alone), audio, vision.
      relu_dropout, residual_dropout: dropout rates in the encoders: inside the
        feed-forward blocks, and before the residual sums.
      embed_dropout: dropout rate of the encoders' inputs and of the text features.
      expected: what weighs the classes in a predicted score: 'probabilities', 'logits'.
      padded: take padding for real steps.
      fairseq_zero_pos: no position vector where feature 0 is exactly 0.
      remat: compute the activations of a layer again in the backward pass.
    """

    dim: int = 200
    heads: int = 20
    layers: int = 7
    self_layers: int = 3
    pose_dim: int = 64
    concept_dim: int = 64
    routings: int = 1
    causal: bool = True
    concept_dropout: float = 0.5
    attention_dropouts: tuple[float, float, float] = (0.0, 0.0, 0.0)
    relu_dropout: float = 0.0
    residual_dropout: float = 0.0
    embed_dropout: float = 0.0
    expected: str = "probabilities"
    padded: bool = False
    fairseq_zero_pos: bool = False
    remat: bool = True

    @property
    def scores(self) -> tuple[int, ...]:
        """The scores that are the classes of a regression; () of classes."""
        if self.spec.label_range is None:
            return ()
        low, high = map(round, self.spec.label_range)
        return tuple(range(low, high + 1))

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Predictions, and what explains them.

        Returns:
          'pred'; 'logits' [B, C]; by capsule (`CAPSULES`) 'features' {name: [B, dim]},
          'pose' [B, 7, pose_dim] and 'activation' [B, 7]; 'routing' [B, routings, 7, C];
          'concepts' [B, routings + 1, C, concept_dim], the first before any routing.
        """
        self.check_choices({"expected": ("probabilities", "logits")})
        features = self._features(batch, train)
        capsules = [
            Linear(self.pose_dim + 1, name=f"capsule_{name}")(features[name])
            for name in CAPSULES
        ]
        capsule = jnp.stack(capsules, axis=1)
        pose = capsule[..., :-1]
        activation = nn.sigmoid(capsule[..., -1].astype(jnp.float32))
        classes = len(self.spec.classes or self.scores)
        shape = (len(CAPSULES), self.pose_dim, classes, self.concept_dim)
        init = nn.initializers.normal(math.sqrt(classes / (shape[0] * shape[1])))
        weight = self.param("votes", init, shape)
        votes = jnp.einsum("bip,ipcm->bicm", pose, weight).astype(jnp.float32)
        dropout = Dropout(self.concept_dropout, deterministic=not train)
        concepts, routing = route(votes, activation, self.routings, dropout)
        embedding = self.param("embedding", nn.initializers.zeros, shape[2:])
        logits = jnp.einsum("bcm,cm->bc", concepts[:, -1], embedding)
        made = dict(features=features, pose=pose, activation=activation)
        made |= dict(logits=logits, routing=routing, concepts=concepts)
        return {"pred": self._pred(logits), **made}

    def loss(
        self, batch: Batch, *, train: bool, progress: dict[str, jax.Array]
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Cross-entropy of the classes; a score's is the nearest, of two the even one."""
        if self.spec.classes:
            return super().loss(batch, train=train, progress=progress)
        out = self(batch, train=train)
        label = jnp.clip(jnp.round(batch["label"]), self.scores[0], self.scores[-1])
        label = label.astype(jnp.int32) - self.scores[0]
        values = losses.cross_entropy(out["logits"], label)
        where = batch["valid"] & batch.get("labelled", True)
        return parallel.batch_mean(values, where=where), {"pred": out["pred"]}

    def _pred(self, logits: jax.Array) -> jax.Array:
        if self.spec.classes:
            return logits
        weights = logits if self.expected == "logits" else nn.softmax(logits)
        return jnp.einsum("bc,c->b", weights, jnp.asarray(self.scores, jnp.float32))

    def _features(self, batch: Batch, train: bool) -> dict[str, jax.Array]:
        """The last step of each modality and of those that read another: {capsule: [B, dim]}."""
        steps = step_masks(batch, padded=self.padded)
        masks: dict[str, jax.Array] = dict(zip(MODALITIES, steps, strict=True))
        x: dict[str, jax.Array] = {m: batch[m] for m in MODALITIES}
        x["text"] = Dropout(self.embed_dropout)(x["text"], deterministic=not train)
        for m in MODALITIES:
            if x[m].shape[-1] != self.dim:  # else the authors leave it as it is
                project = TemporalConvolution(self.dim, 1, name=f"{m}_projection")
                x[m], _ = project(x[m], masks[m])

        names = ("heads", "causal", "fairseq_zero_pos", "remat", "embed_dropout")
        names = (*names, "relu_dropout", "residual_dropout")
        shared: dict = {name: getattr(self, name) for name in names}
        dropouts: dict = dict(zip(MODALITIES, self.attention_dropouts, strict=True))

        def encode(target: str, source: str = "") -> jax.Array:
            encoder = CrossmodalEncoder(
                layers=self.layers if source else max(self.layers, self.self_layers),
                attention_dropout=dropouts[source or "text"],
                name=f"{target}_{source or 'alone'}",
                **shared,
            )
            h = encoder(
                x[target],
                x.get(source),
                mask=masks[target],
                source_mask=masks.get(source),
                train=train,
            )
            return last_step(h, masks[target])

        found = {m: encode(m) for m in MODALITIES}
        found |= {pair: encode(*pair.split("_")) for pair in PAIRS.values()}
        three = [encode(*pair.split("_")) for pair in TRIPLE]
        all_three = jnp.concatenate(three, axis=-1)
        return found | {"all": Linear(self.dim, name="all")(all_three)}


def route(
    votes: jax.Array,
    activation: jax.Array,
    routings: int,
    dropout: Callable[[jax.Array], jax.Array],
) -> tuple[jax.Array, jax.Array]:
    """Concepts from the votes of capsules; a capsule's routing to all concepts sums to 1.

    Args:
      votes: [B, I, C, M] float32, of capsule i for concept c.
      activation: [B, I] float32.
      routings: n, number of routings.
      dropout: of the concepts.

    Returns:
      Concepts [B, n + 1, C, M], the first those of equal routing, which the activations
      do not weigh, and the routing coefficients [B, n, I, C].
    """
    _, capsules, classes, width = votes.shape
    concepts = [dropout(jnp.sum(votes, axis=1) / classes)]
    routing = [jnp.zeros((votes.shape[0], 0, capsules, classes))]
    for _ in range(routings):
        agreement = jnp.einsum("bicm,bcm->bic", votes, concepts[-1])
        r = nn.softmax(agreement / math.sqrt(width))
        routing.append(r[:, None])
        weights = activation[..., None] * r
        concepts.append(dropout(jnp.einsum("bic,bicm->bcm", weights, votes)))
    return jnp.stack(concepts, axis=1), jnp.concatenate(routing, axis=1)
