import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from msajax.nn import recurrent
from msajax.nn.recurrent import LSTM, LSTMDecoder, LSTMLayer, Recurrent
from tests import random_bits
from tests.weights.numpy_reference import lstm_layer, sigmoid

X = np.random.default_rng(0).normal(size=(3, 5, 4)).astype(np.float32)
LENGTHS = np.array([5, 2, 0])
MASK = np.arange(5)[None] < LENGTHS[:, None]


def init(layers=1, hidden=6):
    lstm = LSTM(hidden, layers)
    init = jax.jit(functools.partial(lstm.init, train=False))
    return lstm, init(random_bits.key(0), X, MASK)


def evaluate(lstm, variables, x=X):
    """(outputs, last states) as NumPy's arrays."""
    apply = jax.jit(functools.partial(lstm.apply, train=False))
    return jax.device_get(apply(variables, x, MASK))


def test_against_a_loop_over_time():
    lstm, variables = init(layers=2)
    outputs, last = evaluate(lstm, variables)
    for row, length in enumerate(LENGTHS):
        h = X[row, :length]
        for layer in ("layer_0", "layer_1"):
            p = jax.tree.map(np.asarray, variables["params"][layer])
            h = lstm_layer(h, p["kernel"], p["recurrent_kernel"], p["bias"])
        np.testing.assert_allclose(outputs[row, :length], h, atol=1e-6)
        np.testing.assert_allclose(last[row], h[-1] if length else 0, atol=1e-6)


def test_padded_steps_carry_the_state():
    lstm, variables = init()
    noisy = np.where(MASK[..., None], X, 9.0)
    outputs, last = evaluate(lstm, variables, noisy)
    np.testing.assert_array_equal(outputs[1, 2:], np.stack([last[1]] * 3))
    np.testing.assert_array_equal(last, evaluate(lstm, variables)[1])


def plain(params, x, mask):
    """One layer, one step at a time: outputs [B, L, hidden], the last state and the cells."""
    h = c = jnp.zeros((x.shape[0], params["recurrent_kernel"].shape[0]))
    outputs, cells = [], []
    for t in range(x.shape[1]):
        z = x[:, t] @ params["kernel"] + h @ params["recurrent_kernel"]
        i, f, g, o = jnp.split(z + params["bias"][None], 4, axis=1)
        c_new = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h_new = jax.nn.sigmoid(o) * jnp.tanh(c_new)
        h, c = (jnp.where(mask[:, t, None], *s) for s in ((h_new, h), (c_new, c)))
        outputs.append(h)
        cells.append(c)
    return jnp.stack(outputs, 1), h, jnp.stack(cells, 1)


def gradients(run, weights):
    """Gradients of a weighted sum of all outputs, the last state and what more there are weights for."""

    def loss(params, x):
        return sum(map(jnp.vdot, run(params, x), weights))

    return jax.jit(jax.grad(loss, argnums=(0, 1)))


def test_gradients_are_those_of_the_plain_loop():
    lstm, variables = init()
    params = variables["params"]["layer_0"]
    rng = np.random.default_rng(1)
    weights = rng.normal(size=(3, 5, 6)), rng.normal(size=(3, 6))
    mask = MASK.copy()
    mask[0, 2] = False  # a gap: the state passes over it
    for scale in (weights, (0 * weights[0], weights[1])):
        ours = gradients(
            lambda p, x: lstm.apply({"params": {"layer_0": p}}, x, mask, train=False),
            scale,
        )(params, X)
        wanted = gradients(lambda p, x: plain(p, x, mask), scale)(params, X)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), ours, wanted
        )


def test_gradients_of_cells_are_those_of_the_plain_loop():
    """Of all results together, and of the cells alone, as MFN reads them."""
    layer = LSTMLayer(6)
    params = init()[1]["params"]["layer_0"]
    rng = np.random.default_rng(2)
    weights = *rng.normal(size=(2, 3, 5, 6)), rng.normal(size=(3, 6))
    real = MASK.T[..., None]

    def run(params, x):
        x = jnp.swapaxes(x, 0, 1)
        h, last, c = layer.apply({"params": params}, x, real, method="with_cells")
        return jnp.swapaxes(c, 0, 1), jnp.swapaxes(h, 0, 1), last

    def wanted(params, x):
        h, last, c = plain(params, x, MASK)
        return c, h, last

    for count in (3, 1):
        chex.assert_trees_all_close(
            gradients(run, weights[:count])(params, X),
            gradients(wanted, weights[:count])(params, X),
            atol=2e-6,
        )


def test_a_decoder_reads_a_vector_and_then_its_own_outputs():
    x = X[:, 0]
    outputs, variables = LSTMDecoder().init_with_output(jax.random.key(0), x, steps=5)
    p = jax.tree.map(np.asarray, variables["params"])
    for row, value in enumerate(x):
        h, c, inputs = np.zeros(4), np.zeros(4), value
        for step in range(5):
            z = inputs @ p["kernel"] + h @ p["recurrent_kernel"] + p["bias"]
            i, f, g, o = np.split(z, 4)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            inputs = h = sigmoid(o) * np.tanh(c)
            np.testing.assert_allclose(outputs[step, row], h, atol=1e-6)


def test_seeds_together_are_seeds_alone():
    lstm, _ = init(layers=2)
    keys = jax.random.split(random_bits.key(5), 3)
    weights = np.ones((3, 5, 6)), np.ones((3, 6))
    start = jax.vmap(lambda key: lstm.init(key, X, MASK, train=False))
    states = jax.device_get(jax.jit(start)(keys))
    grad = gradients(lambda v, x: lstm.apply(v, x, MASK, train=False), weights)
    together = jax.device_get(jax.vmap(grad, in_axes=(0, None))(states, X))
    for i in range(3):
        one = jax.tree.map(lambda leaf, i=i: leaf[i], (states, together))
        chex.assert_trees_all_close(grad(one[0], X), one[1], atol=1e-5)


def test_dropout_acts_between_layers_only():
    one, two = LSTM(6, 1, dropout=0.5), LSTM(6, 2, dropout=0.5)
    rngs = {"dropout": random_bits.key(1)}
    for lstm, differs in ((one, False), (two, True)):
        v = init(lstm.layers)[1]
        train = functools.partial(lstm.apply, train=True, rngs=rngs)
        dropped = np.asarray(jax.jit(train)(v, X, MASK)[1])
        assert np.any(dropped != evaluate(lstm, v)[1]) == differs


def test_initial_values_fill_the_interval_of_pytorch():
    _, variables = init(hidden=64)
    layer = variables["params"]["layer_0"]
    for name, bound in (("kernel", 1), ("recurrent_kernel", 1), ("bias", 2)):
        assert 0.8 * bound < 8 * np.abs(layer[name]).max() <= bound


def gru_layer(x, p):
    """torch.nn.GRU over one sequence [L, D] in numpy: all states [L, H]."""
    h = np.zeros(p["recurrent_kernel"].shape[0])
    states = []
    for step in x:
        a = step @ p["kernel"] + p["bias"]
        b = h @ p["recurrent_kernel"] + p["recurrent_bias"]
        (a_r, a_z, a_n), (b_r, b_z, b_n) = np.split(a, 3), np.split(b, 3)
        r, z = sigmoid(a_r + b_r), sigmoid(a_z + b_z)
        h = (1 - z) * np.tanh(a_n + r * b_n) + z * h
        states.append(h)
    return np.stack(states)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_both_directions_against_a_loop_over_time(cell, side):
    mask = MASK if side == "right" else MASK[:, ::-1]
    noisy = np.where(mask[..., None], X, 9.0)
    layer = Recurrent(6, cell, bidirectional=True)
    made = jax.jit(layer.init_with_output)(random_bits.key(0), noisy, mask)
    outputs, variables = jax.device_get(made)
    p = variables["params"]

    def run(x, p):
        if cell == "gru":
            return gru_layer(x, p)
        return lstm_layer(x, p["kernel"], p["recurrent_kernel"], p["bias"])

    for row in (0, 1):
        x = X[row, mask[row]]
        want = [run(x, p["forward"]), run(x[::-1], p["backward"])[::-1]]
        want = np.concatenate(want, axis=-1)
        np.testing.assert_allclose(outputs[row, mask[row]], want, atol=1e-6)
    np.testing.assert_array_equal(outputs[~mask], 0)
    one = jax.jit(Recurrent(6, cell).apply)(
        {"params": {"forward": p["forward"]}}, noisy, mask
    )
    np.testing.assert_array_equal(one, outputs[..., :6])


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_both_directions_are_one_loop(cell):
    layer = Recurrent(6, cell, bidirectional=True)
    params = jax.eval_shape(layer.init, random_bits.key(0), X, MASK)

    def loss(params):
        return jnp.sum(layer.apply(params, X, MASK))

    assert str(jax.make_jaxpr(loss)(params)).count("= scan[") == 1
    assert str(jax.make_jaxpr(jax.grad(loss))(params)).count("= scan[") == 2


def test_a_gru_starts_in_the_interval_of_pytorch():
    variables = jax.jit(Recurrent(64, "gru").init)(random_bits.key(0), X, MASK)
    for leaf in jax.tree.leaves(variables["params"]["forward"]):
        assert 0.8 < 8 * np.abs(leaf).max() <= 1


def test_gradients_are_like_what_they_are_of():
    """The inputs' share in float32, and weights in bfloat16."""
    gates = jnp.asarray(np.random.default_rng(2).normal(size=(5, 3, 8)), jnp.float32)
    real = jnp.asarray(MASK.T[..., None])

    def loss(gates, weights):
        ((outputs, _, _),) = recurrent._recur(((gates, weights, real),))
        return jnp.sum(jnp.sin(outputs))

    weights = jnp.full((2, 8), 0.25, jnp.bfloat16)
    found = jax.grad(loss, (0, 1))(gates, weights)
    assert [x.dtype for x in found] == [jnp.float32, jnp.bfloat16]
    exact = jax.grad(loss)(gates, weights.astype(jnp.float32))
    np.testing.assert_allclose(found[0], exact, rtol=1e-6)
