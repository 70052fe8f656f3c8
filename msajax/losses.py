"""Losses as pure functions: arrays in, one value per sample (or element) out; reductions are the caller's.

Predictions of any float type; the values are float32.
"""

import chex
import jax
import jax.numpy as jnp
import optax


def l1(pred: jax.Array, label: jax.Array) -> jax.Array:
    """Absolute error: [B], [B] -> [B]."""
    chex.assert_equal_shape([pred, label])
    return jnp.abs(pred.astype(jnp.float32) - label)


def mse(pred: jax.Array, label: jax.Array) -> jax.Array:
    """Squared error: [B], [B] -> [B]."""
    chex.assert_equal_shape([pred, label])
    return jnp.square(pred.astype(jnp.float32) - label)


def smooth_l1(pred: jax.Array, label: jax.Array) -> jax.Array:
    """Half the squared error up to 1, beyond it the absolute error less 1/2: [B], [B] -> [B]."""
    chex.assert_equal_shape([pred, label])
    return huber(pred.astype(jnp.float32) - label, delta=1.0)


def huber(x: jax.Array, *, delta: float) -> jax.Array:
    """x²/2 of each element up to |x| = delta, and linear beyond: [...] -> [...]."""
    return optax.huber_loss(x.astype(jnp.float32), delta=delta)


def cross_entropy(logits: jax.Array, label: jax.Array) -> jax.Array:
    """Cross-entropy in nats: logits [..., C], label [...] int32 -> [...].

    The leading axes are [B], or [B, U] of dialogues.
    """
    chex.assert_rank(logits, {2, 3})
    chex.assert_shape(label, logits.shape[:-1])
    return optax.softmax_cross_entropy_with_integer_labels(
        logits.astype(jnp.float32), label
    )


def focal(logits: jax.Array, label: jax.Array, *, gamma: float) -> jax.Array:
    """Cross-entropy times (1 - p)^gamma, p the label's probability without its gradient: as `cross_entropy`."""
    values = cross_entropy(logits, label)
    missed = jax.lax.stop_gradient(-jnp.expm1(-values))
    return jnp.power(jnp.maximum(missed, 0), gamma) * values


def token_cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Cross-entropy in nats of each token of a text; 0 where a label is negative, which does not count.

    PyTorch's loss is the mean over those that count, of all texts together.

    Args:
      logits: [B, L, V].
      labels: [B, L] int32.

    Returns:
      [B, L] float32.
    """
    chex.assert_rank(logits, 3)
    chex.assert_shape(labels, logits.shape[:2])
    values = optax.softmax_cross_entropy_with_integer_labels(
        logits.astype(jnp.float32), jnp.maximum(labels, 0)
    )
    return jnp.where(labels < 0, 0, values)


def softmax_kl(p: jax.Array, q: jax.Array) -> jax.Array:
    """KL(softmax(p) || softmax(q)) in nats over the last axis: [B, D], [B, D] -> [B]."""
    chex.assert_equal_shape([p, q])
    log_p, log_q = (jax.nn.log_softmax(x.astype(jnp.float32)) for x in (p, q))
    return jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=-1)


def gaussian_kl(mean: jax.Array, log_std: jax.Array) -> jax.Array:
    """KL(N(mean, std²) || N(0, 1)) in nats of each element: [...], [...] -> [...]."""
    chex.assert_equal_shape([mean, log_std])
    mean, log_std = mean.astype(jnp.float32), log_std.astype(jnp.float32)
    return 0.5 * (jnp.square(mean) + jnp.exp(2 * log_std) - 1) - log_std


def info_nce(
    x: jax.Array,
    positive: jax.Array,
    candidates: jax.Array,
    *,
    where: jax.Array,
    temperature: float = 1.0,
) -> jax.Array:
    """InfoNCE: minus the log-probability of the positive among all candidates, by cosine.

    Args:
      x, positive: [B, D], pairs.
      candidates: [N, D], the positives among them.
      where: [N] bool, False on candidates that do not count.
      temperature: divides the cosines.

    Returns:
      [B] float32.
    """
    chex.assert_equal_shape([x, positive])
    chex.assert_rank([x, candidates, where], [2, 2, 1])
    chex.assert_equal_shape_prefix([candidates, where], 1)
    x, positive, candidates = (_unit(v) for v in (x, positive, candidates))
    x /= temperature
    scores = jnp.einsum("bd,nd->bn", x, candidates)
    # Finite, so that without any candidate the gradient is too.
    scores = jnp.where(where[None], scores, jnp.finfo(scores.dtype).min)
    total = jax.nn.logsumexp(scores, axis=1)
    return total - jnp.sum(x * positive, axis=-1)


def supervised_contrast(
    x: jax.Array, group: jax.Array, *, where: jax.Array, temperature: float
) -> jax.Array:
    """Supervised contrast by cosine: a vector is like those of its group, and unlike all others.

    Args:
      x: [N, D].
      group: [N] int32.
      where: [N] bool, False on vectors that do not count.
      temperature: T.

    Returns:
      A scalar, the mean over the vectors that have another of their group of minus the mean
      log-probability of these among all others; 0 without any.

    Source: Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020.
    """
    chex.assert_rank([x, group, where], [2, 1, 1])
    chex.assert_equal_shape_prefix([x, group, where], 1)
    x, itself = _unit(x), jnp.eye(x.shape[0], dtype=bool)
    others = where[:, None] & where[None] & ~itself
    positive = others & (group[:, None] == group[None])
    scores = jnp.einsum("id,jd->ij", x, x) / temperature
    low = jnp.finfo(scores.dtype).min
    total = jax.nn.logsumexp(jnp.where(others, scores, low), axis=1, keepdims=True)
    number = jnp.sum(positive, axis=1)
    gaps = jnp.sum(jnp.where(positive, total - scores, 0), axis=1)
    return jnp.sum(gaps / jnp.maximum(number, 1)) / jnp.maximum(jnp.sum(number > 0), 1)


def triplet(positive: jax.Array, negative: jax.Array, *, margin: float) -> jax.Array:
    """max(0, d(anchor, positive) - d(anchor, negative) + margin) of distances: [B], [B] -> [B]."""
    chex.assert_equal_shape([positive, negative])
    return jnp.maximum(positive - negative + margin, 0)


def _unit(x: jax.Array) -> jax.Array:
    """Vectors of length 1; the zero vector stays, with a finite gradient."""
    x = x.astype(jnp.float32)
    square = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.maximum(square, 1e-24))


def cmd(x: jax.Array, y: jax.Array, *, where: jax.Array, moments: int = 5) -> jax.Array:
    """Central moment discrepancy: distances between the means and the central moments of each dimension, summed.

    Zellinger et al., "Central Moment Discrepancy (CMD) for Domain-Invariant
    Representation Learning", ICLR 2017, for values in [0, 1].

    Args:
      x, y: [N, D], samples of two distributions.
      where: [N] bool, False on samples that do not count.
      moments: the highest one.

    Returns:
      A scalar, 0 without any sample; its gradient where a distance is 0 is 0.
    """
    chex.assert_equal_shape([x, y])
    chex.assert_rank(x, 2)
    chex.assert_shape(where, x.shape[:1])
    (mean_x, x), (mean_y, y) = (_mean_and_centred(v, where) for v in (x, y))
    gaps = [mean_x - mean_y]
    for k in range(2, moments + 1):
        gaps.append(_mean(x**k, where) - _mean(y**k, where))
    return jnp.sum(_length(jnp.stack(gaps)))


def orthogonality(x: jax.Array, y: jax.Array, *, where: jax.Array) -> jax.Array:
    """How far two representations of the same samples are from orthogonal: squared products of their dimensions.

    Dimensions are centred over the samples, then samples have length 1; through these
    lengths no gradient flows.

    Args:
      x: [N, D].
      y: [N, E].
      where: [N] bool, False on samples that do not count.

    Returns:
      A scalar, the mean of D E squares.

    Source: DiffLoss of thuiar/MMSA, as in domain separation networks (Bousmalis et
    al., NeurIPS 2016).
    """

    chex.assert_rank([x, y, where], [2, 2, 1])
    chex.assert_equal_shape_prefix([x, y, where], 1)

    def unit(v):
        centred = jnp.where(where[:, None], _mean_and_centred(v, where)[1], 0)
        length = jax.lax.stop_gradient(_length(centred))
        return centred / (length[:, None] + 1e-6)

    return jnp.mean(jnp.square(jnp.einsum("nd,ne->de", unit(x), unit(y))))


def _mean(x: jax.Array, where: jax.Array) -> jax.Array:
    """Mean of the samples that count, 0 without any: [N, D] -> [D]."""
    total = jnp.sum(jnp.where(where[:, None], x, 0), axis=0)
    return total / jnp.maximum(jnp.sum(where), 1)


def _mean_and_centred(x: jax.Array, where: jax.Array) -> tuple[jax.Array, jax.Array]:
    """[N, D] -> [D] and [N, D]."""
    x = x.astype(jnp.float32)
    mean = _mean(x, where)
    return mean, x - mean[None]


def _length(x: jax.Array) -> jax.Array:
    """Euclidean lengths of the rows, whose gradient at 0 is 0: [N, D] -> [N]."""
    square = jnp.sum(jnp.square(x), axis=-1)
    positive = square > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1)), 0)
