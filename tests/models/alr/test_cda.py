"""Cross-diffusion attention: its weights and its mixtures, by hand."""

import jax
import numpy as np
import pytest

from msajax.models.alr.cda import CrossDiffusion, diffuse


def attention(seed, shape=(2, 3, 2, 4, 4)):
    """Random rows of sum 1: [2, B, H, N, N]."""
    scores = np.random.default_rng(seed).normal(size=shape)
    weights = np.exp(scores)
    return (weights / weights.sum(-1, keepdims=True)).astype(np.float32)


def test_the_identity_diffuses_to_itself():
    alpha = np.broadcast_to(np.eye(5, dtype=np.float32), (2, 1, 2, 5, 5))
    np.testing.assert_allclose(diffuse(alpha, 0.6), 1.4 * alpha, atol=1e-6)
    np.testing.assert_allclose(diffuse(alpha, 0.25), 1.75 * alpha, atol=1e-6)


def test_diffusion_as_its_authors_normalise_it():
    alpha = attention(0).astype(np.float64)

    def normalised(weights):  # their S = (W D)' D, D the inverse root of the row sums
        d = np.einsum("...q,qk->...qk", weights.sum(-1) ** -0.5, np.eye(4))
        return np.swapaxes(weights @ d, -1, -2) @ d

    s_r, s_d = normalised(alpha[0]), normalised(alpha[1])
    both = 0.4 * (alpha[0] + alpha[1])
    found = diffuse(alpha.astype(np.float32), 0.6)
    wanted = 0.6 * s_r @ np.swapaxes(s_d, -1, -2) + both
    np.testing.assert_allclose(found[0], wanted, atol=1e-6)
    wanted = 0.6 * s_d @ np.swapaxes(s_r, -1, -2) + both
    np.testing.assert_allclose(found[1], wanted, atol=1e-6)
    assert np.abs(found[0] - found[1]).max() > 0.01


@pytest.mark.parametrize("pairing", ["received", "sent"])
def test_each_stream_by_hand(pairing):
    rng = np.random.default_rng(1)
    r, d = rng.normal(size=(2, 3, 5, 4)).astype(np.float32)
    block = CrossDiffusion(2, share=0.3, pairing=pairing)
    variables = block.init(jax.random.key(0), r, d)
    (h_r, h_d), state = block.apply(variables, r, d, mutable=["intermediates"])
    params = jax.tree.map(np.asarray, variables["params"])

    def heads(x, name):  # [B, N, D] -> q, k, v, [B, H, N, E] each
        parts = np.split(x @ params[name]["kernel"], 3, axis=-1)
        return [np.swapaxes(p.reshape(3, 5, 2, 2), 1, 2) for p in parts]

    def softmax(x):
        x = np.exp(x)
        return x / x.sum(-1, keepdims=True)

    alpha, value = {}, {}
    for name, x in (("r", r), ("d", d)):
        q, k, value[name] = heads(x, f"qkv_{name}")
        alpha[name] = softmax(q @ np.swapaxes(k, -1, -2) / np.sqrt(2))
    (found,) = state["intermediates"]["alpha"]
    np.testing.assert_allclose(found, [alpha["r"], alpha["d"]], atol=1e-5)
    both = 0.7 * (alpha["r"] + alpha["d"])
    turned = {name: np.swapaxes(a, -1, -2) for name, a in alpha.items()}
    into_r = (0.3 * turned["r"] @ alpha["d"] + both) @ value["d"]
    into_d = (0.3 * turned["d"] @ alpha["r"] + both) @ value["r"]
    if pairing == "sent":
        into_r, into_d = into_d, into_r
    outcomes = (("r", into_r, h_r), ("d", into_d, h_d))
    for name, other, h in outcomes:
        own = alpha[name] @ value[name]
        joined = [np.swapaxes(x, 1, 2).reshape(3, 5, 4) for x in (own, other)]
        f = params[f"f_{name}"]
        wanted = np.concatenate(joined, -1) @ f["kernel"] + f["bias"]
        np.testing.assert_allclose(h, wanted, atol=1e-5)


def test_heads_that_do_not_divide_the_width():
    x = np.zeros((1, 2, 4), np.float32)
    with pytest.raises(ValueError, match="3 heads do not divide a width of 4"):
        CrossDiffusion(3).init(jax.random.key(0), x, x)
