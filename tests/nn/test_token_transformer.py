"""Token Transformers: by hand, what they see, and that what is not read is not needed."""

import functools

import jax
import numpy as np
import pytest
from scipy.special import erf

from msajax.nn.token_transformer import PreNormEncoder, TokenFusion, TokenTransformer
from msajax.weights import template
from tests import random_bits

rng = np.random.default_rng(0)
X = rng.normal(size=(2, 5, 6)).astype(np.float32)
SOURCE = rng.normal(size=(2, 4, 6)).astype(np.float32)
MASK = np.arange(5)[None] < [[5], [3]]
TOKENS = TokenTransformer(3, 9, layers=2, heads=2, mlp_dim=7, head_dim=4)


def random_variables(module, *inputs, **options):
    """Random values for all parameters, none of them a constant."""
    shapes = template(module, *inputs, **options)
    return jax.tree.map(
        lambda leaf: rng.normal(0, 0.5, leaf.shape).astype(np.float32), shapes
    )


def norm(p, x):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * p["scale"] + p["bias"]


def linear(p, x):
    return x @ p["kernel"] + p["bias"]


def attention(p, x, source, mask):
    """One head and one row at a time."""
    names = ("query", "key", "value")
    heads = []
    for h in range(p["query"].shape[1]):
        q, k, v = (
            norm(p[f"{m}_norm"], y) @ p[m][:, h]
            for m, y in zip(names, (x, source, source), strict=True)
        )
        scores = np.exp(q @ np.swapaxes(k, 1, 2) / np.sqrt(q.shape[-1]))
        scores = scores * mask[:, None]
        heads.append(scores / scores.sum(-1, keepdims=True) @ v)
    return linear(p["out"], np.concatenate(heads, -1))


def gelu(x):
    return x / 2 * (1 + erf(x / np.sqrt(2)))


def relu(x):
    return np.maximum(x, 0)


def encode(p, x, mask, layers, source=None, activation=gelu):
    hidden = [x]
    for i in range(layers):
        keys = x if source is None else source
        x = x + attention(p[f"attention_{i}"], x, keys, mask)
        h = linear(p[f"fc1_{i}"], norm(p[f"norm_{i}"], x))
        x = x + linear(p[f"fc2_{i}"], activation(h))
        hidden.append(x)
    return hidden


@pytest.mark.parametrize("queries", [None, 1])
@pytest.mark.parametrize("source", [None, SOURCE], ids=["self", "cross"])
def test_the_encoder_by_hand(source, queries):
    module = PreNormEncoder(2, heads=3, mlp_dim=7, head_dim=4)
    mask = MASK if source is None else MASK[:, :4]
    variables = random_variables(module, X, source, mask=mask)
    apply = jax.jit(functools.partial(module.apply, queries=queries))
    found = apply(variables, X, source, mask=mask)
    wanted = encode(variables["params"], X, mask, 2, source)
    assert len(found) == 3
    wanted[-1] = wanted[-1][:, :queries]
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


def test_the_activation_of_the_encoder():
    module = PreNormEncoder(1, heads=3, mlp_dim=7, head_dim=4, activation="relu")
    variables = random_variables(module, X, mask=MASK)
    found = jax.jit(module.apply)(variables, X, mask=MASK)[-1]
    wanted = encode(variables["params"], X, MASK, 1, activation=relu)[-1]
    np.testing.assert_allclose(found, wanted, atol=2e-5)


@functools.cache
def tokens():
    variables = random_variables(TOKENS, X, MASK)
    return variables, jax.jit(TOKENS.apply, static_argnames="whole")


def test_tokens_by_hand():
    variables, apply = tokens()
    p = variables["params"]
    h = np.concatenate([np.broadcast_to(p["tokens"], (2, 3, 6)), X], 1)
    h = h + p["positions"][:8]
    mask = np.concatenate([np.ones((2, 3), bool), MASK], 1)
    wanted = encode(p["encoder"], h, mask, 2)[-1]
    np.testing.assert_allclose(apply(variables, X, MASK), wanted[:, :3], atol=2e-5)
    whole = apply(variables, X, MASK, whole=True)
    np.testing.assert_allclose(whole, wanted, atol=2e-5)


def test_padding_is_not_seen():
    variables, apply = tokens()
    before = apply(variables, X, MASK)
    noise = np.where(MASK[..., None], X, 7.0)
    np.testing.assert_array_equal(apply(variables, noise, MASK), before)
    longer = np.pad(X, ((0, 0), (0, 4), (0, 0))), np.pad(MASK, ((0, 0), (0, 4)))
    np.testing.assert_allclose(apply(variables, *longer), before, atol=1e-5)
    # A sequence without a step leaves the tokens to themselves.
    alone = apply(variables, X, MASK & False)
    np.testing.assert_allclose(alone[0], alone[1], atol=1e-6)
    assert np.isfinite(alone).all() and np.abs(alone - before).max() > 1e-2


def test_tokens_start_at_zero_and_positions_do_not():
    init = jax.jit(TOKENS.init)
    params = jax.device_get(init(random_bits.key(0), X, MASK))["params"]
    np.testing.assert_array_equal(params["tokens"], 0)
    assert params["positions"].shape == (12, 6)
    assert 0.7 < params["positions"].std() < 1.3
    bound = 6**-0.5  # torch.nn.Linear's
    kernel = params["encoder"]["attention_0"]["query"]
    assert 0.9 * bound < np.abs(kernel).max() <= bound


def test_the_fusion_is_the_token_of_a_cross_transformer():
    """Whatever target stands behind it: here random steps."""
    module = TokenFusion(2, heads=2, mlp_dim=7, head_dim=4)
    variables = random_variables(module, SOURCE)
    p = variables["params"]
    token = np.broadcast_to(p["token"], (2, 1, 6))
    target = np.concatenate([token + p["position"], X], 1)
    source = np.concatenate([token, SOURCE], 1) + p["source_positions"]
    whole = encode(p["encoder"], target, np.ones((2, 5), bool), 2, source)[-1]
    found = jax.jit(module.apply)(variables, SOURCE)
    np.testing.assert_allclose(found, whole[:, 0], atol=2e-5)
