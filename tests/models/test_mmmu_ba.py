import functools

import jax
import numpy as np
import pytest

from msajax.data.spec import MODALITIES, Spec
from msajax.models.mmmu_ba import MMMUBA
from msajax.nn.bimodal import attend_pair
from msajax.weights import template

SPEC = Spec(dims=(4, 3, 5), lengths=(4, 6, 5), num_train=6)
LONGER = Spec(dims=(4, 3, 5), lengths=(6, 7, 8), num_train=6)
DIM = 6


@functools.cache
def made(**options):
    """(random variables, jitted outputs) of a small MMMU-BA."""
    model = MMMUBA(SPEC, hidden_dims=(2, 3, 4), dim=DIM, **options)
    rng = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda leaf: rng.normal(0, 0.5, leaf.shape).astype(np.float32),
        template(model, SPEC.example(2), train=False),
    )
    return variables, jax.jit(lambda v, b: model.apply(v, b, train=False))


def parts(out):
    """What is concatenated: two of the pairs av, vt and ta, then audio, vision, text."""
    return np.split(np.asarray(out["fusion"]), 9, axis=1)


def test_a_pair_attends_to_real_steps_and_is_gated():
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(2, n, 5)).astype(np.float32) for n in (4, 3))
    lengths = ((4, 2), (1, 3))
    masks = [
        np.arange(n) < np.array(k)[:, None]
        for n, k in ((4, lengths[0]), (3, lengths[1]))
    ]
    for given in (None, masks):
        of_x, of_y = attend_pair(x, y, given)
        for row in range(2):
            n, k = (4, 3) if given is None else (lengths[0][row], lengths[1][row])
            a, b = x[row, :n], y[row, :k]
            weights = np.exp(a @ b.T)
            wanted = weights / weights.sum(1, keepdims=True) @ b * a
            np.testing.assert_allclose(of_x[row, :n], wanted, atol=1e-5)
            wanted = (weights / weights.sum(0)).T @ a * b
            np.testing.assert_allclose(of_y[row, :k], wanted, atol=1e-5)


def test_an_utterance_alone_attends_to_itself():
    """Both halves of a pair are the product of its modalities; a missing one has none."""
    variables, call = made(level="utterance")
    batch = SPEC.example(3)
    batch["vision_mask"][1] = False
    av, va, vt, tv, ta, at, a, v, t = parts(call(variables, batch))
    for first, second, x, y in ((av, va, a, v), (vt, tv, v, t), (ta, at, t, a)):
        np.testing.assert_allclose(first, second, atol=1e-6)
        real = np.array([1, 0 if x is v or y is v else 1, 1])[:, None]
        np.testing.assert_allclose(first, x * y * real, atol=1e-6)
    assert (v[1] == 0).all() and np.abs(v[0]).max() > 0


def test_frames_attend_to_real_frames_alone():
    batch = SPEC.example(3, seed=2)
    for (
        m
    ) in MODALITIES:  # the first row has no padding, the second nothing but its start
        batch[f"{m}_mask"][:2] = np.arange(batch[m].shape[1]) < [[99], [2]]
    longer = dict(batch)
    for m, length in zip(MODALITIES, LONGER.lengths, strict=True):
        extra = (0, length - batch[m].shape[1])
        longer[m] = np.pad(batch[m], ((0, 0), extra, (0, 0)), constant_values=9)
        longer[f"{m}_mask"] = np.pad(batch[f"{m}_mask"], ((0, 0), extra))
    found = {}
    for padded in (False, True):
        variables, call = made(padded=padded)
        found[padded] = call(variables, batch)["pred"]
        same = np.abs(call(variables, longer)["pred"] - found[padded]).max() < 1e-5
        assert same == (not padded)
    # The port attends to padding, which row 0 has none of.
    difference = np.abs(found[True] - found[False])
    assert difference[0] < 1e-5 < 1e-4 < difference[1]


def test_the_ports_dropout_in_evaluation_is_the_same_each_time():
    batch = SPEC.example(3)
    variables, call = made(padded=False)
    _, dropped = made(dropout_at_test=True)
    first = dropped(variables, batch)["pred"]
    np.testing.assert_array_equal(first, dropped(variables, batch)["pred"])
    assert np.abs(first - call(variables, batch)["pred"]).max() > 1e-3
    _, none = made(dropout_at_test=True, dropout=0.0)
    np.testing.assert_allclose(
        none(variables, batch)["pred"], call(variables, batch)["pred"], atol=1e-6
    )


def test_a_wrong_level_is_refused():
    with pytest.raises(ValueError, match='did you mean "frame"'):
        template(MMMUBA(SPEC, level="frames"), SPEC.example(2), train=False)
