import jax
import numpy as np
import pytest

from msajax.weights import blocks
from msajax.weights.table import Table, copy, reverse, stack

rng = np.random.default_rng(0)
TABLE = Table(
    rules=(
        reverse("linear.weight", "params/linear/kernel"),
        *blocks.lstm("rnn", "lstm"),
    ),
    constants={"scale": 2.0},
    ignored=(r"version", r".*\.count"),
)
STATE = {
    "linear.weight": rng.normal(size=(3, 2)),
    "rnn.weight_ih_l0": rng.normal(size=(8, 3)),
    "rnn.weight_hh_l0": rng.normal(size=(8, 2)),
    "rnn.bias_ih_l0": rng.normal(size=8),
    "rnn.bias_hh_l0": rng.normal(size=8),
}
TEMPLATE = {
    "params": {
        "linear": {"kernel": jax.ShapeDtypeStruct((2, 3), np.float32)},
        "lstm": {
            "layer_0": {
                "kernel": jax.ShapeDtypeStruct((3, 8), np.float32),
                "recurrent_kernel": jax.ShapeDtypeStruct((2, 8), np.float32),
                "bias": jax.ShapeDtypeStruct((8,), np.float32),
            }
        },
    }
}


def test_fills_every_leaf_in_its_dtype():
    params = TABLE.variables(STATE, TEMPLATE)["params"]
    layer = params["lstm"]["layer_0"]
    np.testing.assert_allclose(params["linear"]["kernel"], STATE["linear.weight"].T)
    both = STATE["rnn.bias_ih_l0"] + STATE["rnn.bias_hh_l0"]
    np.testing.assert_allclose(layer["bias"], both, rtol=1e-6)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype("float32")}


def test_settings_and_buffers_may_be_there():
    extra = {"scale": np.array([2.0]), "version": np.ones(1), "norm.count": np.ones(())}
    TABLE.variables(STATE | extra, TEMPLATE)


def test_all_faults_are_listed():
    state = dict(STATE)
    del state["rnn.weight_hh_l0"]
    state |= {
        "linear.weight": np.zeros((4, 2)),
        "head.bias": np.zeros(5),
        "scale": np.array([3.0]),
        "rnn.bias_hh_l0": np.zeros(6),
    }
    template = {"params": TEMPLATE["params"] | {"new": TEMPLATE["params"]["linear"]}}
    with pytest.raises(ValueError) as error:
        TABLE.variables(state, template)
    for line in (
        "missing: rnn.weight_hh_l0",
        "unknown: head.bias (5,)",
        "scale is [3.0], but the model is set to 2.0",
        "not filled: params/new/kernel",
        "shape: linear.weight (4, 2), but params/linear/kernel is (2, 3)",
        "shape: rnn.bias_ih_l0 (8,), rnn.bias_hh_l0 (6,), but params/lstm/layer_0/bias",
    ):
        assert line in str(error.value), line


def test_a_rule_for_no_leaf_is_a_fault():
    table = Table((*TABLE.rules, copy("linear.bias", "params/linear/bias")))
    with pytest.raises(ValueError, match="not in the model: params/linear/bias"):
        table.variables(STATE | {"linear.bias": np.zeros(3)}, TEMPLATE)


def test_gradients_go_to_both_biases():
    gradient = rng.normal(size=8)
    arrays = TABLE.arrays({"params": {"lstm": {"layer_0": {"bias": gradient}}}})
    assert set(arrays) == {"rnn.bias_ih_l0", "rnn.bias_hh_l0"}
    for array in arrays.values():
        np.testing.assert_array_equal(array, gradient)


@pytest.mark.parametrize("heads", [1, 2, 3])
def test_attention_projects_as_pytorch(heads):
    weight, x = rng.normal(size=(18, 6)), rng.normal(size=6)
    kernel, bias, *_ = blocks.attention("a", "b", heads)
    ours = kernel.read(weight)
    assert ours.shape == (6, 3, heads, 6 // heads)
    np.testing.assert_allclose(np.tensordot(x, ours, 1).ravel(), weight @ x)
    np.testing.assert_array_equal(kernel.write(ours)[0], weight)
    vector = rng.normal(size=18)
    np.testing.assert_array_equal(bias.write(bias.read(vector))[0], vector)


def test_stacked_layers():
    (rule,) = stack([[reverse(f"{i}.weight", "params/kernel")] for i in range(3)])
    weights = [rng.normal(size=(4, 2)) for _ in range(3)]
    leaf = rule.read(*weights)
    assert rule.names == ("0.weight", "1.weight", "2.weight") and leaf.shape == (
        3,
        2,
        4,
    )
    for back, weight in zip(rule.write(leaf), weights, strict=True):
        np.testing.assert_array_equal(back, weight)
