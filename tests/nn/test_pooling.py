import numpy as np

from msajax.nn.pooling import AttentionPool, first_step, last_step, mean_pool

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


def test_attention_over_real_steps_by_hand():
    rng = np.random.default_rng(0)
    x = rng.normal(size=X.shape).astype(np.float32)
    W, b, v = (rng.normal(size=s).astype(np.float32) for s in ((2, 5), 5, (5, 1)))
    hidden, score = {"kernel": W, "bias": b}, {"kernel": v}
    params = {"params": {"hidden": hidden, "score": score}}
    found = AttentionPool(5).apply(params, x, MASK)
    wanted = np.zeros((3, 2))
    for row, real in enumerate(MASK):
        if real.any():
            e = np.exp(np.tanh(x[row, real] @ W + b) @ v)
            wanted[row] = (e / e.sum() * x[row, real]).sum(0)
    np.testing.assert_allclose(found, wanted, atol=1e-6)
