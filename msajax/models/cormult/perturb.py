"""Samples whose modalities do not fit together, made of those of a batch.

Li, Zhu and Li, "CorMulT: A Semi-supervised Modality Correlation-aware Multimodal
Transformer for Sentiment Analysis", 2024, section 4.2: strategies A (a modality of
another sample), B (shifted in time), C (noise), and D, one of these for each sample.
All draws are for the global batch and by place: they do not depend on the number of
devices.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from msajax import parallel
from msajax.nn.words import FIRST

STRATEGIES = ("A", "B", "C", "D")


class Sequences(NamedTuple):
    """Sequences of some modalities by name.

    Attributes:
      x: [B, L, D] float32 each; of text also [B, L] int32, the numbers of its words.
      masks: [B, L] bool each, real steps.
    """

    x: dict[str, jax.Array]
    masks: dict[str, jax.Array]

    def present(self, modality: str) -> jax.Array:
        """Rows that have a modality: [B] bool."""
        return jnp.any(self.masks[modality], axis=1)


class Exchange(NamedTuple):
    """Which modality of each row is another row's.

    Attributes:
      chosen: {modality: [B] bool}.
      partner: {modality: [B] int32}, the other row's number in the global batch.
    """

    chosen: dict[str, jax.Array]
    partner: dict[str, jax.Array]

    def apply(self, samples: Sequences, only: jax.Array | None = None) -> Sequences:
        """Samples with foreign modalities, of the rows `only` ([B] bool; None is all)."""

        def swap(values: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
            made = {}
            for m, own in values.items():
                rows = self.chosen[m] if only is None else self.chosen[m] & only
                other = parallel.gather(own)[self.partner[m]]
                made[m] = _where(rows, other, own)
            return made

        return Sequences(swap(samples.x), swap(samples.masks))


def exchange(key: jax.Array, samples: Sequences, valid: jax.Array) -> Exchange:
    """Draws strategy A: of each row one of its modalities, and a row that has it too.

    Args:
      key: the same on every device, as `make_rng` gives it for every stream but
        'dropout'.
      samples: of the batch.
      valid: [B] bool; rows that only fill up the batch are nobody's partners.
    """
    which_key, *keys = jax.random.split(key, len(samples.x) + 1)
    has = jnp.stack([samples.present(m) for m in samples.x], axis=1)
    scores = parallel.draw(
        lambda rows: jax.random.uniform(which_key, (rows, len(samples.x))), len(valid)
    )
    which = jnp.argmax(jnp.where(has, scores, -1), axis=1)
    chosen = {m: has[:, i] & (which == i) for i, m in enumerate(samples.x)}
    partner = {
        m: _partners(key, valid & samples.present(m))
        for m, key in zip(samples.x, keys, strict=True)
    }
    return Exchange(chosen, partner)


def _partners(key: jax.Array, eligible: jax.Array) -> jax.Array:
    """For each row another eligible one of the global batch; itself where there is none: [B] int32."""
    everywhere = parallel.gather(eligible)

    def choose(rows: int) -> jax.Array:
        others = everywhere[None] & ~jnp.eye(rows, dtype=bool)
        scores = jnp.where(others, jax.random.uniform(key, (rows, rows)), -1)
        own = jnp.arange(rows)
        return jnp.where(others.any(axis=1), jnp.argmax(scores, axis=1), own)

    return parallel.draw(choose, len(eligible))


def shift(samples: Sequences, steps: Mapping[str, int]) -> Sequences:
    """Strategy B: each modality begins so many steps later, and ends in as many zeros."""

    def earlier(x: jax.Array, mask: jax.Array, count: int) -> jax.Array:
        real = jnp.where(mask.reshape(mask.shape + (1,) * (x.ndim - 2)), x, 0)
        # Never all of it: what is beyond the end is zeros.
        widths = [(0, 0), (0, count), *[(0, 0)] * (x.ndim - 2)]
        return jnp.pad(real, widths)[:, count:]

    x = {m: earlier(v, samples.masks[m], steps[m]) for m, v in samples.x.items()}
    return Sequences(x, samples.masks)


def disturb(
    key: jax.Array, samples: Sequences, *, noise: float, words: int = 0
) -> Sequences:
    """Strategy C: N(0, noise²) on audio and vision, and another word in the text.

    Text that is features has N(0, noise²) in the place of one step, as the authors' code.

    Args:
      key, samples: as in `exchange`.
      noise: standard deviation.
      words: ids of text that is numbers of words, see `msajax.nn.words`.
    """
    made = {}
    for m, x in samples.x.items():
        key, noise_key, word_key = jax.random.split(key, 3)
        if m == "text" and words:
            hit = _one_step(word_key, samples.masks[m])
            made[m] = jnp.where(hit, _another_word(noise_key, x, words), x)
            continue
        drawn = noise * parallel.draw(
            lambda rows, k=noise_key, shape=x.shape[1:]: jax.random.normal(
                k, (rows, *shape)
            ),
            len(x),
        )
        if m == "text":
            hit = _one_step(word_key, samples.masks[m])[..., None]
            made[m] = jnp.where(hit, drawn, x).astype(x.dtype)
        else:
            made[m] = (x + drawn).astype(x.dtype)
    return Sequences(made, samples.masks)


def _one_step(key: jax.Array, mask: jax.Array) -> jax.Array:
    """One real step of each row, at random: [B, L] bool."""
    share = parallel.draw(lambda rows: jax.random.uniform(key, (rows, 1)), len(mask))
    step = jnp.floor(share * jnp.sum(mask, axis=1, keepdims=True))
    return mask & (jnp.arange(mask.shape[1])[None] == step)


def _another_word(key: jax.Array, ids: jax.Array, size: int) -> jax.Array:
    """For each row a known word that is not the one in its place: [B, L] -> [B, L]."""
    known = size - FIRST
    step = parallel.draw(
        lambda rows: jax.random.randint(key, (rows, 1), 1, max(2, known)), len(ids)
    )
    return FIRST + (ids - FIRST + step) % known


def perturb(
    key: jax.Array,
    samples: Sequences,
    valid: jax.Array,
    *,
    strategy: str,
    steps: Mapping[str, int],
    noise: float,
    words: int = 0,
) -> Sequences:
    """Negative samples.

    Args:
      key, samples, valid: as in `exchange`.
      strategy: one of `STRATEGIES`.
      steps: of `shift`.
      noise, words: of `disturb`.
    """
    key, which_key, noise_key = jax.random.split(key, 3)
    makers = {
        "A": lambda: exchange(key, samples, valid).apply(samples),
        "B": lambda: shift(samples, steps),
        "C": lambda: disturb(noise_key, samples, noise=noise, words=words),
    }
    if strategy != "D":
        return makers[strategy]()
    which = parallel.draw(
        lambda rows: jax.random.randint(which_key, (rows,), 0, len(makers)), len(valid)
    )
    first, second, third = (make() for make in makers.values())

    def select(a: jax.Array, b: jax.Array, c: jax.Array) -> jax.Array:
        return _where(which == 0, a, _where(which == 1, b, c))

    return jax.tree.map(select, first, second, third)


def _where(rows: jax.Array, new: jax.Array, old: jax.Array) -> jax.Array:
    return jnp.where(rows.reshape((-1,) + (1,) * (new.ndim - 1)), new, old)
