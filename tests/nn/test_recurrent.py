import jax
import jax.numpy as jnp
import numpy as np

from msajax.nn.recurrent import LSTM
from tests.interop.numpy_reference import lstm_layer

X = np.random.default_rng(0).normal(size=(3, 5, 4)).astype(np.float32)
LENGTHS = np.array([5, 2, 0])
MASK = np.arange(5)[None] < LENGTHS[:, None]


def init(layers=1, hidden=6):
    lstm = LSTM(hidden, layers)
    return lstm, lstm.init(jax.random.key(0), X, MASK, train=False)


def test_against_a_loop_over_time():
    lstm, variables = init(layers=2)
    outputs, last = lstm.apply(variables, X, MASK, train=False)
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
    outputs, last = lstm.apply(variables, noisy, MASK, train=False)
    np.testing.assert_array_equal(outputs[1, 2:], np.stack([last[1]] * 3))
    np.testing.assert_array_equal(last, lstm.apply(variables, X, MASK, train=False)[1])


def test_dropout_acts_between_layers_only():
    one, two = LSTM(6, 1, dropout=0.5), LSTM(6, 2, dropout=0.5)
    rngs = {"dropout": jax.random.key(1)}
    for lstm, differs in ((one, False), (two, True)):
        v = lstm.init(jax.random.key(0), X, MASK, train=False)
        dropped = lstm.apply(v, X, MASK, train=True, rngs=rngs)[1]
        plain = lstm.apply(v, X, MASK, train=False)[1]
        assert bool(jnp.any(dropped != plain)) is differs


def test_initial_values_fill_the_interval_of_pytorch():
    _, variables = init(hidden=64)
    layer = variables["params"]["layer_0"]
    for name, bound in (("kernel", 1), ("recurrent_kernel", 1), ("bias", 2)):
        assert 0.8 * bound < 8 * jnp.max(jnp.abs(layer[name])) <= bound
