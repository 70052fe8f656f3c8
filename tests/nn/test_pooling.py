import numpy as np

from msajax.nn.pooling import first_step, last_step, mean_pool

X = np.arange(24, dtype=np.float32).reshape(3, 4, 2)
MASK = np.arange(4)[None] < np.array([4, 2, 0])[:, None]


def test_mean_over_real_steps():
    want = [X[0].mean(0), X[1, :2].mean(0), [0, 0]]
    np.testing.assert_allclose(mean_pool(X, MASK), want)


def test_last_real_step():
    np.testing.assert_array_equal(last_step(X, MASK), [X[0, 3], X[1, 1], [0, 0]])


def test_first_real_step_with_padding_on_either_side():
    np.testing.assert_array_equal(first_step(X, MASK), [X[0, 0], X[1, 0], [0, 0]])
    left = MASK[:, ::-1]
    np.testing.assert_array_equal(first_step(X, left), [X[0, 0], X[1, 2], [0, 0]])
    gap = np.array([[False, True, False, True]] * 3)
    np.testing.assert_array_equal(first_step(X, gap), X[:, 1])
