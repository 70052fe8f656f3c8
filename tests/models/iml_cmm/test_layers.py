"""The pooling of IML-CMM by hand."""

import numpy as np

from msajax.models.iml_cmm.layers import AttentionPool

X = np.arange(24, dtype=np.float32).reshape(3, 4, 2)
MASK = np.arange(4)[None] < np.array([4, 2, 0])[:, None]


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
