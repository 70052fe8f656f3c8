"""MSG by hand, its bound, and its gradients where vectors are zero."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from msajax.models.msg_mba.msg import MSG
from tests import random_bits

rng = np.random.default_rng(0)
TEXT, AUDIO, VISION = (rng.normal(size=(2, 3, d)).astype(np.float32) for d in (6, 4, 5))


def shifted(*, mu=1.0, zero=(), norm=False, others=("audio", "vision")):
    """An MSG of the text: its parameters and outputs; parameters named in `zero` are 0."""
    gate = MSG(mu, norm=norm)
    values = {"audio": AUDIO, "vision": VISION}
    inputs = TEXT, {name: values[name] for name in others}
    init, apply = (
        jax.jit(functools.partial(method, train=False))
        for method in (gate.init, gate.apply)
    )
    params = jax.device_get(init(random_bits.key(0), *inputs))["params"]
    for name in zero:
        params[name] = jax.tree.map(np.zeros_like, params[name])
    outputs = apply({"params": params}, *inputs)
    return jax.tree.map(np.asarray, (params, *outputs))


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("others", [("vision",), ("audio", "vision")])
def test_msg_by_hand(others, norm):
    p, output, shift = shifted(mu=0.2, norm=norm, others=others)
    h_s = p["bias"]
    for name in others:
        x = {"audio": AUDIO, "vision": VISION}[name]
        gate = np.concatenate([x, TEXT], -1) @ p[f"{name}_gate"]["kernel"]
        gate = np.maximum(gate + p[f"{name}_gate"]["bias"], 0)
        h_s = h_s + gate * (x @ p[name]["kernel"])
    assert set(p) == {"bias", "mu", *others, *(f"{m}_gate" for m in others)} | (
        {"norm"} if norm else set()
    )
    np.testing.assert_allclose(shift, h_s, atol=1e-5)
    lengths = [np.linalg.norm(x, axis=-1, keepdims=True) for x in (TEXT, h_s)]
    eta = np.minimum(0.2 * lengths[0] / (lengths[1] + 1e-6), 1)
    assert (eta < 1).any()
    moved = TEXT + eta * h_s
    if norm:
        moved -= moved.mean(-1, keepdims=True)
        moved /= np.sqrt(moved.var(-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(output, moved, atol=1e-5)


@pytest.mark.parametrize("mu", [0.05, 0.5, 100.0])
def test_msg_shifts_no_further_than_mu_allows(mu):
    _, output, shift = shifted(mu=mu)
    moved = np.linalg.norm(output - TEXT, axis=-1)
    assert (moved <= mu * np.linalg.norm(TEXT, axis=-1) + 1e-5).all()
    assert (moved <= np.linalg.norm(shift, axis=-1) + 1e-5).all()  # eta <= 1


def test_msg_without_weights_is_the_identity():
    zero = ("audio", "vision", "bias")
    _, output, shift = shifted(zero=zero)
    np.testing.assert_array_equal(output, TEXT)
    np.testing.assert_array_equal(shift, 0)


def test_gradients_of_msg_at_zero_vectors_are_finite():
    gate = MSG(0.5)
    others = {"audio": jnp.zeros_like(AUDIO)}
    init = jax.jit(functools.partial(gate.init, train=False))
    variables = init(random_bits.key(0), TEXT, others)
    variables["params"]["bias"] = jnp.zeros(6)  # h_s = 0

    def total(variables, x):
        return sum(jnp.sum(v**2) for v in gate.apply(variables, x, others, train=False))

    gradients = jax.jit(jax.grad(total, argnums=(0, 1)))
    for x in (TEXT, np.zeros_like(TEXT)):
        for leaf in jax.tree.leaves(gradients(variables, x)):
            assert np.isfinite(leaf).all()
