import numpy as np

from msajax.nn.pooling import last_step, mean_pool

X = np.arange(24, dtype=np.float32).reshape(3, 4, 2)
MASK = np.arange(4)[None] < np.array([4, 2, 0])[:, None]


def test_mean_over_real_steps():
    want = [X[0].mean(0), X[1, :2].mean(0), [0, 0]]
    np.testing.assert_allclose(mean_pool(X, MASK), want)


def test_last_real_step():
    np.testing.assert_array_equal(last_step(X, MASK), [X[0, 3], X[1, 1], [0, 0]])
