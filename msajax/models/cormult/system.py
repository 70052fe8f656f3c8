"""CorMulT: MulT whose streams are weighed by how well the modalities of a sample fit.

Li, Zhu and Li, "CorMulT: A Semi-supervised Modality Correlation-aware Multimodal
Transformer for Sentiment Analysis", 2024; the defaults are those of the authors'
code. Unlike in their code, every sample is computed as if it stood alone: padding is
not attended to, not averaged and not the last step, every step has its position, the
frozen evaluator runs without dropout (their `model.train()` wakes it), and strategy A
takes the foreign modality from the batch, as the paper says, not from the whole split;
`padded` and `counted_pos` restore the first three. Their three encoders start as
copies of one, ours do not. With config.text.vocabulary the text is words, which the
evaluator and the Transformer each embed for themselves (the paper: the evaluator).
"""

import itertools
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from msajax import losses, parallel
from msajax.data.spec import MODALITIES, suggest
from msajax.models.base import Batch, Model, Outputs
from msajax.models.cormult.distances import DISTANCES
from msajax.models.cormult.mce import MCE
from msajax.models.cormult.perturb import STRATEGIES, Sequences, exchange, perturb
from msajax.nn.masks import step_masks
from msajax.nn.mult import MultimodalTransformer

_CHOICES = {
    "strategy": STRATEGIES,
    "distance": tuple(DISTANCES),
    "mce_encoder": ("post_ln", "paper"),
    "weighting": ("residual", "multiply"),
}


class CorMulT(Model):
    """Correlation-aware MulT.

    Train it in two phases: 'mce_loss' the Modality Correlation Evaluator (MCE), which
    needs no labels, then 'loss' all else.

    Attributes:
      correlated: modalities that MCE evaluates; streams between others are not
        weighed, and with fewer than two of them there is no MCE.
      strategy: how negative samples are made, see `msajax.models.cormult.perturb`.
      shift: steps by which strategy B moves text, audio and vision forward (the
        paper: a word, and an offset between audio and vision).
      noise: standard deviation of strategy C's; of a text of words it replaces one by
        another word of the vocabulary.
      distance: distance between representations (Table 3).
      margin: margin of the triplet loss.
      mce_dim, mce_heads, mce_layers, mce_hidden, mce_dropout: width, heads, layers,
        feed-forward width and dropout rate of MCE's Transformers.
      mce_encoder: 'post_ln' layers, or those of the paper's equations (4) to (7).
      mce_steps, mce_out: t and o of the shared space; 0 steps is the mean over time,
        as the authors' code.
      weighting: h + h Cor ('residual', the authors' code), or h Cor ('multiply',
        the paper).
      foreign: share of the training rows one of whose modalities is another row's,
        with both rows' labels (authors' code: 0.3).
      levels: predict by the most probable of so many levels between the lowest and
        the highest label (the paper: 7); 0 is a regression.
      dim, heads, layers, kernel_sizes, causal, position_embedding, text_dropout,
        attention_dropouts, relu_dropout, residual_dropout, embed_dropout,
        output_dropout, residual_head, remat: arguments of
        `msajax.nn.mult.MultimodalTransformer`; the paper has no residual head.
      padded: take padding for real steps.
      fairseq_zero_pos, counted_pos: quirks of MulT's and CorMulT's authors, see
        `msajax.nn.positions`.
    """

    own_words: ClassVar[bool] = True

    criterion: str = "mse"
    correlated: tuple[str, ...] = MODALITIES
    strategy: str = "D"
    shift: tuple[int, int, int] = (1, 1, 1)
    noise: float = 0.1
    distance: str = "cosine"
    margin: float = 0.2
    mce_dim: int = 128
    mce_heads: int = 4
    mce_layers: int = 3
    mce_hidden: int = 256
    mce_dropout: float = 0.1
    mce_encoder: str = "post_ln"
    mce_steps: int = 0
    mce_out: int = 64
    weighting: str = "residual"
    foreign: float = 0.0
    levels: int = 0
    dim: int = 30
    heads: int = 2
    layers: int = 2
    kernel_sizes: tuple[int, int, int] = (1, 1, 1)
    causal: bool = True
    position_embedding: bool = True
    text_dropout: float = 0.25
    attention_dropouts: tuple[float, float, float] = (0.1, 0.1, 0.1)
    relu_dropout: float = 0.1
    residual_dropout: float = 0.1
    embed_dropout: float = 0.25
    output_dropout: float = 0.0
    residual_head: bool = True
    padded: bool = False
    fairseq_zero_pos: bool = False
    counted_pos: bool = False
    remat: bool = True

    def setup(self):
        """Makes the two parts."""
        self._check()
        if len(self.correlated) > 1:
            lengths: dict[str, int] = dict(
                zip(MODALITIES, self.spec.lengths, strict=True)
            )
            self.mce = MCE(
                lengths=tuple((m, lengths[m]) for m in self.correlated),
                dim=self.mce_dim,
                heads=self.mce_heads,
                layers=self.mce_layers,
                hidden=self.mce_hidden,
                dropout=self.mce_dropout,
                norm_input=self.mce_encoder == "paper",
                steps=self.mce_steps,
                out=self.mce_out,
                distance=self.distance,
                words=self.spec.vocabulary,
            )
        outputs = self.levels or self.spec.num_outputs
        words = dict(words=self.spec.vocabulary, word_dim=self.mce_dim)
        self.mult = MultimodalTransformer.of(self, outputs, **words)

    def _check(self) -> None:
        self.check_choices(_CHOICES)
        for m in self.correlated:
            if m not in MODALITIES:
                raise ValueError(
                    f'config.model.correlated has "{m}"{suggest(m, MODALITIES)}'
                )
        if self.levels == 1 or self.levels < 0 or (self.levels and self.spec.classes):
            raise ValueError(
                f"config.model.levels is {self.levels}; give 0, or 2 or more levels "
                "for labels that are a range (classes have their own outputs)"
            )
        if min(self.shift) < 0:
            raise ValueError(f"config.model.shift is {self.shift}; give 0 or more each")

    # Modality Correlation Contrastive Learning (section 3.2) ---------------------

    def samples(self, batch: Batch) -> Sequences:
        """The features and the steps that count as real, of all modalities."""
        steps = step_masks(batch, padded=self.padded)
        masks: dict[str, jax.Array] = dict(zip(MODALITIES, steps, strict=True))
        text = "text_ids" if self.spec.vocabulary else "text"
        x = {m: batch[text if m == "text" else m] for m in MODALITIES}
        return Sequences(x, masks)

    def mce_loss(self, batch: Batch, *, train: bool, progress: dict) -> Any:
        """Equation (8) on negative samples, which in evaluation are always the same."""
        del progress
        key = self.make_rng("perturb") if train else jax.random.key(0)
        negatives = perturb(
            key,
            self._evaluated(self.samples(batch)),
            batch["valid"],
            strategy=self.strategy,
            steps=dict(zip(MODALITIES, self.shift, strict=True)),
            noise=self.noise,
            words=self.spec.vocabulary,
        )
        return self.loss_of_negatives(batch, negatives, train=train)

    def loss_of_negatives(
        self, batch: Batch, negatives: Sequences, *, train: bool
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Equation (8): the mean over the anchors of the triplet losses on each other modality.

        Args:
          batch: as in `loss`; without labels.
          negatives: of the modalities `correlated`, like the batch's own.
          train: as in `loss`.

        Returns:
          As `loss`, with the terms '<anchor>_<other>', of rows that have both.
        """
        positives = self._evaluated(self.samples(batch))
        # Both in one pass of twice the rows
        both = jax.tree.map(lambda *x: jnp.concatenate(x), positives, negatives)
        f, rows = self.mce(both, train=train), batch["valid"].shape[0]
        own = {m: v[:rows] for m, v in f.items()}
        where = {m: batch["valid"] & positives.present(m) for m in self.correlated}
        if train:
            self.mce.observe(own, where)
        terms = {}
        for anchor, other in itertools.permutations(self.correlated, 2):
            values = losses.triplet(
                self.mce.between(own[anchor], own[other]),
                self.mce.between(own[anchor], f[other][rows:]),
                margin=self.margin,
            )
            both_there = where[anchor] & where[other]
            terms[f"{anchor}_{other}"] = parallel.batch_mean(values, where=both_there)
        total = sum(terms.values(), start=jnp.zeros(()))
        return total / len(self.correlated), terms

    def mce_pred(self, batch: Batch, *, train: bool) -> Outputs:
        """How well the modalities of a sample fit: the mean of its coefficients."""
        mean = jnp.mean(self.correlations(batch, train=train)["pred"], axis=1)
        if self.spec.classes:  # metrics of classes ask for a score of each
            return {"pred": jnp.tile(mean[:, None], (1, self.spec.num_outputs))}
        return {"pred": mean}

    def correlations(self, batch: Batch, *, train: bool) -> Outputs:
        """The coefficients Cor of each pair, in the order of `reports`: [B, pairs]."""
        del train
        found = self._correlations(self.samples(batch))
        return {"pred": jnp.stack([*found.values()], axis=1)}

    @property
    def reports(self) -> Mapping[str, tuple[str, ...]]:
        """The coefficients are reported beside the predictions."""
        columns = tuple(f"cor_{a}_{b}" for a, b in self._pairs)
        return {"correlations": columns} if columns else {}

    def _correlations(self, samples: Sequences) -> dict[tuple[str, str], jax.Array]:
        """Cor of each pair by the frozen MCE, which runs without dropout: [B] each."""
        if not self._pairs:
            return {}
        f = jax.lax.stop_gradient(self.mce(self._evaluated(samples), train=False))
        found = {}
        for a, b in self._pairs:
            d = self.mce.between(f[a], f[b])
            # The paper gives none for the others: 1 where both are the same, down to 0.
            cor = 1 - d if self.distance == "cosine" else 1 / (1 + d)
            both_there = samples.present(a) & samples.present(b)
            found[a, b] = jnp.where(both_there, cor, 0)
        return found

    @property
    def _pairs(self) -> tuple[tuple[str, str], ...]:
        return tuple(itertools.combinations(self.correlated, 2))

    def _evaluated(self, samples: Sequences) -> Sequences:
        return Sequences(*({m: v[m] for m in self.correlated} for v in samples))

    # Correlation-aware Multimodal Transformer (section 3.3) ----------------------

    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Predictions; also the last steps of the modalities, all joined, and the coefficients."""
        return self._forward(self.samples(batch), train)

    def _forward(self, samples: Sequences, train: bool) -> Outputs:
        found = self._correlations(samples)
        scales = {}
        for (a, b), cor in found.items():
            scale = 1 + cor if self.weighting == "residual" else cor
            scales[a, b] = scales[b, a] = scale
        out = self.mult(*samples, scales=scales, train=train)
        named = {f"cor_{a}_{b}": cor for (a, b), cor in found.items()}
        return {"pred": self._prediction(out["out"]), **out, **named}

    def _prediction(self, out: jax.Array) -> jax.Array:
        if not self.levels:
            return self.squeeze_single(out)
        low, high = self.spec.label_range or (0.0, 0.0)
        best = jnp.argmax(out, axis=-1).astype(jnp.float32)
        return low + best * (high - low) / (self.levels - 1)

    def loss(
        self, batch: Batch, *, train: bool, progress: dict[str, jax.Array]
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """The task loss; in training, of rows with a foreign modality, on both labels."""
        del progress
        samples, labels = self.samples(batch), [batch["label"]]
        if train and self.foreign:
            samples, other = self._with_foreign(samples, batch)
            labels.append(other)
        out = self._forward(samples, train)
        found = [self._loss_on(out, {**batch, "label": y}) for y in labels]
        loss = jnp.mean(jnp.stack(found))
        return loss, {"pred": out["pred"].astype(jnp.float32)}

    def _loss_on(self, out: Outputs, batch: Batch) -> jax.Array:
        if not self.levels:
            return self.task_loss(out["pred"].astype(jnp.float32), batch)
        low, high = self.spec.label_range or (0.0, 0.0)
        place = (jnp.clip(batch["label"], low, high) - low) / (high - low)
        level = jnp.round(place * (self.levels - 1)).astype(jnp.int32)
        values = losses.cross_entropy(out["out"], level)
        where = batch["valid"] & batch.get("labelled", True)
        return parallel.batch_mean(values, where=where)

    def _with_foreign(
        self, samples: Sequences, batch: Batch
    ) -> tuple[Sequences, jax.Array]:
        """Samples, some of which have a foreign modality, and the labels of where it is from."""
        key, rows_key = jax.random.split(self.make_rng("foreign"))
        labelled = batch["valid"] & batch.get("labelled", True)
        drawn = exchange(key, samples, labelled)
        rows = parallel.draw(
            lambda n: jax.random.uniform(rows_key, (n,)) < self.foreign,
            batch["valid"].shape[0],
        )
        label, everywhere = batch["label"], parallel.gather(batch["label"])
        for m, chosen in drawn.chosen.items():
            label = jnp.where(rows & chosen, everywhere[drawn.partner[m]], label)
        return drawn.apply(samples, rows), label
