import numpy as np
import pytest

from msajax.nn.masks import front, step_masks, to_front, to_places, visible

QUERIES = np.array([[True, True, False], [True, True, True]])
KEYS = np.array([[True, True, True, True, False], [True, False, False, False, False]])


def test_without_a_diagonal_all_real_keys_are_visible():
    mask = visible(QUERIES, KEYS, causal=False)
    np.testing.assert_array_equal(mask, np.broadcast_to(KEYS[:, None], (2, 3, 5)))


def test_the_diagonal_follows_true_lengths():
    mask = np.asarray(visible(QUERIES, KEYS, causal=True)).astype(int)
    # Four keys, two queries: query i sees keys 0..i+2; one key, three queries: all see it.
    np.testing.assert_array_equal(
        mask[0], [[1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 0]]
    )
    np.testing.assert_array_equal(mask[1], [[1, 0, 0, 0, 0]] * 3)


@pytest.mark.parametrize("q,k", [(4, 4), (3, 7), (7, 3)])
def test_without_padding_it_is_the_references_triangle(q, k):
    mask = visible(np.ones((1, q), bool), np.ones((1, k), bool), causal=True)
    hidden = np.triu(np.ones((q, k)), 1 + abs(k - q)) == 1
    np.testing.assert_array_equal(mask[0], ~hidden)


def test_padded_takes_all_steps_for_real():
    batch = {f"{m}_mask": KEYS for m in ("text", "audio", "vision")}
    for mask in step_masks(batch, padded=True):
        assert np.all(mask)
    for mask in step_masks(batch, padded=False):
        np.testing.assert_array_equal(mask, KEYS)


def test_own_steps_to_the_front_and_back():
    own = np.array([[False, True, False, True, True], [False] * 5, [True] * 5])
    x = np.random.default_rng(0).normal(size=(3, 5, 2)).astype(np.float32)
    moved = np.asarray(to_front(x, own))
    np.testing.assert_array_equal(moved[0], [*x[0, [1, 3, 4]], [0, 0], [0, 0]])
    np.testing.assert_array_equal(moved[2], x[2])
    assert not moved[1].any()
    assert np.asarray(front(own)).sum(axis=1).tolist() == [3, 0, 5]
    assert np.asarray(front(own))[0].tolist() == [True] * 3 + [False] * 2
    np.testing.assert_array_equal(to_places(moved, own), x * own[..., None])
