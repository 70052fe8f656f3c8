import jax
import numpy as np

from msajax.nn.memory import GatedMemory, MemoryFusion, previous
from tests.weights.numpy_reference import relu, sigmoid

RNG = np.random.default_rng(0)
X = RNG.normal(size=(5, 3, 4)).astype(np.float32)
REAL = np.ones((5, 3, 1), bool)
REAL[3:, 1], REAL[2, 2] = False, False  # padding, and a gap
MEMORY = GatedMemory(6, (3, 5, 2), (0.0, 0.0, 0.0))


def run(x=X, *, train=False, memory=MEMORY, change=lambda params: params):
    variables = MEMORY.init(jax.random.key(0), x, REAL, train=False)
    params = change(jax.tree.map(np.array, variables["params"]))
    rngs = {"dropout": jax.random.key(1)}
    got = memory.apply({"params": params}, x, REAL, train=train, rngs=rngs)
    return params, np.asarray(got)


def layer(params, x):
    return x @ params["kernel"] + params["bias"]


def test_against_a_loop_over_time():
    p, got = run()
    for row in range(3):
        memory = np.zeros(6)
        for x in X[REAL[:, row, 0], row]:
            both = np.concatenate([x, memory])
            keep, write = (
                sigmoid(layer(p[f"{g}_fc2"], relu(layer(p[f"{g}_fc1"], both))))
                for g in ("keep", "write")
            )
            h = relu(layer(p["update"]["fc1"], x))
            update = np.tanh(layer(p["update"]["fc2"], h))
            memory = keep * memory + write * update
        np.testing.assert_allclose(got[row], memory, atol=1e-6)


def test_a_closed_gate_writes_nothing():
    def close(params):
        params["write_fc2"]["kernel"][:] = 0
        params["write_fc2"]["bias"][:] = -200
        return params

    np.testing.assert_allclose(run(change=close)[1], 0, atol=1e-30)


def test_dropout_acts_in_training_on_each_of_the_three_layers():
    plain = run()[1]
    np.testing.assert_array_equal(run(train=True)[1], plain)
    for i in range(3):
        rates = tuple(0.5 if i == j else 0.0 for j in range(3))
        memory = MEMORY.clone(dropouts=rates)
        np.testing.assert_array_equal(run(memory=memory)[1], plain)
        assert np.abs(run(memory=memory, train=True)[1] - plain).max() > 1e-4


def test_attention_is_over_the_cells_of_two_steps():
    masks = {m: np.ones((3, 5), bool) for m in ("text", "audio", "vision")}
    masks["audio"][:, 4] = False
    x = {m: np.swapaxes(X, 0, 1) for m in masks}
    fusion = MemoryFusion((2, 3, 4), 6, 5, 0.0, (3, 5, 2), (0.0, 0.0, 0.0))
    out, _ = fusion.init_with_output(jax.random.key(0), x, masks, train=False)
    assert out["attention"].shape == (3, 5, 18)
    np.testing.assert_allclose(out["attention"].sum(-1), 1, atol=1e-6)
    cells = out["audio_cells"]
    np.testing.assert_array_equal(cells[4], cells[3])
    np.testing.assert_array_equal(previous(cells)[1:], cells[:-1])
    assert not previous(cells)[0].any()
    np.testing.assert_array_equal(out["text"], out["text_states"][-1])
    parts = [out[m] for m in ("text", "audio", "vision", "memory")]
    np.testing.assert_array_equal(out["fusion"], np.concatenate(parts, axis=1))
