"""Negative samples: what each strategy changes, and what it leaves."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from msajax.data.spec import MODALITIES, Spec
from msajax.models.cormult.perturb import Sequences, exchange, perturb, shift

ROWS = 64
SPEC = Spec((5, 3, 4), (6, 7, 8), 6)
BATCH = SPEC.example(ROWS, seed=1)
VALID = np.arange(ROWS) < 50


def samples(lost=3):
    """The batch, whose row `lost` has no audio."""
    masks = {m: BATCH[f"{m}_mask"].copy() for m in MODALITIES}
    masks["audio"][lost] = False
    made = Sequences({m: BATCH[m] for m in MODALITIES}, masks)
    return jax.tree.map(jnp.asarray, made)


@functools.cache
def perturbed(strategy, seed=0):
    steps = dict(zip(MODALITIES, (1, 2, 0), strict=True))
    options = dict(strategy=strategy, steps=steps, noise=0.1)
    run = jax.jit(lambda key: perturb(key, samples(), VALID, **options))
    return jax.device_get(run(jax.random.key(seed)))


def changed(made):
    """[B, 3] bool: which modalities of which rows are not what they were."""
    real = {m: samples().masks[m][..., None] for m in MODALITIES}
    return np.stack(
        [
            np.any((made.x[m] != BATCH[m]) & real[m], axis=(1, 2))
            | np.any(made.masks[m] != samples().masks[m], axis=1)
            for m in MODALITIES
        ],
        axis=1,
    )


def test_a_takes_one_modality_of_another_row_that_counts_and_has_it():
    made = perturbed("A")
    assert (changed(made).sum(axis=1) == 1).all() and not changed(made)[3, 1]
    counts = changed(made).sum(axis=0)
    assert counts.min() > 10
    donors = set()
    for row, column in np.argwhere(changed(made)):
        m = MODALITIES[column]
        same = [
            i
            for i in np.flatnonzero(VALID)
            if np.array_equal(made.x[m][row], BATCH[m][i])
            and np.array_equal(made.masks[m][row], samples().masks[m][i])
        ]
        assert same and row not in same and (column != 1 or 3 not in same)
        donors.update(same)
    assert len(donors) > 30
    assert (perturbed("A", seed=1).x["audio"] != made.x["audio"]).any()


def test_a_leaves_a_row_that_has_no_other():
    alone = np.arange(ROWS) == 0
    drawn = exchange(jax.random.key(0), samples(), alone)
    for m in MODALITIES:
        assert drawn.partner[m][0] == 0


def test_b_shifts_within_the_sample():
    x = {"text": np.arange(1.0, 9)[None, :, None], "audio": np.ones((1, 3, 1))}
    masks = {"text": np.arange(8)[None] < 5, "audio": np.ones((1, 3), bool)}
    made = shift(Sequences(x, masks), {"text": 2, "audio": 4})
    np.testing.assert_array_equal(made.x["text"][0, :5, 0], [3, 4, 5, 0, 0])
    np.testing.assert_array_equal(made.x["audio"], np.zeros((1, 3, 1)))
    np.testing.assert_array_equal(made.masks["text"], masks["text"])
    assert changed(perturbed("B"))[:, 1].sum() > 50
    assert not changed(perturbed("B"))[:, 2].any()


def test_c_adds_noise_and_replaces_a_word():
    made = perturbed("C")
    hit = np.any(made.x["text"] != BATCH["text"], axis=2)
    assert (hit.sum(axis=1) == 1).all() and (hit <= BATCH["text_mask"]).all()
    assert len(set(np.argmax(hit, axis=1))) == 6
    np.testing.assert_allclose(made.x["text"][hit].std(), 0.1, rtol=0.15)
    for m in ("audio", "vision"):
        np.testing.assert_allclose((made.x[m] - BATCH[m]).std(), 0.1, rtol=0.05)


def test_c_replaces_a_word_by_another_known_one():
    words = 6
    ids = np.random.default_rng(0).integers(1, words, (ROWS, 6)) * BATCH["text_mask"]
    rest = samples()
    given = Sequences({**rest.x, "text": jnp.asarray(ids, jnp.int32)}, rest.masks)
    steps = dict.fromkeys(MODALITIES, 1)
    options = dict(strategy="C", steps=steps, noise=0.1, words=words)
    run = jax.jit(lambda key: perturb(key, given, VALID, **options).x)
    made = jax.device_get(run(jax.random.key(0)))
    hit = made["text"] != ids
    assert (hit.sum(axis=1) == 1).all() and (hit <= BATCH["text_mask"]).all()
    assert len(set(np.argmax(hit, axis=1))) == 6
    assert set(made["text"][hit].tolist()) == set(range(2, words))
    assert made["text"].dtype == np.int32
    for m in ("audio", "vision"):
        np.testing.assert_allclose((made[m] - BATCH[m]).std(), 0.1, rtol=0.05)
    shifted = shift(given, steps).x["text"]
    np.testing.assert_array_equal(shifted, np.pad(ids, ((0, 0), (0, 1)))[:, 1:])


def test_d_is_one_of_the_three_for_each_row():
    made, kinds = perturbed("D"), changed(perturbed("D"))
    noisy = np.abs(made.x["vision"] - BATCH["vision"])[:, -1].max(axis=1)
    shifted = ~kinds[:, 2] & kinds[:, 0] & kinds[:, 1]
    foreign = kinds.sum(axis=1) == 1
    assert shifted.sum() > 8 and foreign.sum() > 8 and (noisy > 0).sum() > 8


@pytest.mark.parametrize("strategy", "AC")
def test_a_seed_gives_the_same_samples(strategy):
    again = perturbed.__wrapped__(strategy)
    for m in MODALITIES:
        np.testing.assert_array_equal(again.x[m], perturbed(strategy).x[m])
