import jax
import jax.numpy as jnp
import numpy as np
import pytest

from msajax.nn.gates import MAGGate, bounded

rng = np.random.default_rng(0)
TEXT, AUDIO, VISION = (rng.normal(size=(2, 3, d)).astype(np.float32) for d in (6, 4, 5))


def test_a_displacement_is_no_longer_than_its_share():
    text = jnp.array([[3.0, 4.0]])  # length 5
    far, near = jnp.array([[0.0, 20.0]]), jnp.array([[0.0, 2.0]])
    np.testing.assert_allclose(bounded(far, text, beta=0.5), [[0, 2.5]], rtol=1e-6)
    np.testing.assert_array_equal(bounded(near, text, beta=0.5), near)


def test_no_displacement_has_a_gradient():
    zero = jnp.zeros((1, 2))
    text = jnp.array([[3.0, 4.0]])
    for x in (zero, text):
        gradient = jax.grad(lambda h, x=x: jnp.sum(bounded(h, x, beta=1.0)))(zero)
        assert np.isfinite(gradient).all()
        of_text = jax.grad(lambda x: jnp.sum(bounded(text, x, beta=1.0)))(x)
        assert np.isfinite(of_text).all()


def test_the_gate_by_hand():
    gate = MAGGate(beta=0.4)
    variables = gate.init(jax.random.key(0), TEXT, AUDIO, VISION, train=False)
    p = jax.tree.map(np.asarray, variables["params"])

    def linear(name, x):
        return x @ p[name]["kernel"] + p[name]["bias"]

    h = sum(
        np.maximum(linear(f"{name}_gate", np.concatenate([x, TEXT], -1)), 0)
        * linear(name, x)
        for name, x in (("audio", AUDIO), ("vision", VISION))
    )
    norm = np.linalg.norm(h, axis=-1, keepdims=True)
    limit = 0.4 * np.linalg.norm(TEXT, axis=-1, keepdims=True)
    moved = TEXT + np.minimum(limit / norm, 1) * h
    moved -= moved.mean(-1, keepdims=True)
    expected = moved / np.sqrt(moved.var(-1, keepdims=True) + 1e-5)
    output = gate.apply(variables, TEXT, AUDIO, VISION, train=False)
    np.testing.assert_allclose(output, expected, atol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_the_output_has_the_type_of_the_text(dtype):
    text = jnp.asarray(TEXT, dtype)
    output, _ = MAGGate().init_with_output(
        jax.random.key(0), text, AUDIO, VISION, train=False
    )
    assert output.dtype == dtype


def test_dropout_only_in_training():
    gate = MAGGate(dropout=0.5)
    variables = gate.init(jax.random.key(0), TEXT, AUDIO, VISION, train=False)
    rngs = {"dropout": jax.random.key(1)}
    dropped = gate.apply(variables, TEXT, AUDIO, VISION, train=True, rngs=rngs)
    assert 0.2 < (np.asarray(dropped) == 0).mean() < 0.8
