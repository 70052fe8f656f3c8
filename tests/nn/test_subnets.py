import jax
import numpy as np

from msajax.data.spec import Spec
from msajax.nn.subnets import SubNet, Subnets, TextSubNet

SPEC = Spec(dims=(5, 3, 4), lengths=(4, 6, 7), num_train=6)


def test_subnet_is_three_relu_layers_on_normalised_features():
    x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    subnet, valid = SubNet(6), np.ones(4, bool)
    variables = subnet.init(jax.random.key(0), x, valid=valid, train=False)
    h = x / np.sqrt(1 + 1e-5)
    for i in (1, 2, 3):
        layer = variables["params"][f"linear_{i}"]
        h = np.maximum(h @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"]), 0)
    y = subnet.apply(variables, x, valid=valid, train=False)
    np.testing.assert_allclose(y, h, atol=1e-6)


def test_text_subnet_projects_the_last_real_state():
    x = np.random.default_rng(1).normal(size=(2, 4, 3)).astype(np.float32)
    mask = np.arange(4)[None] < np.array([[4], [2]])
    subnet = TextSubNet(6, 5)
    variables = subnet.init(jax.random.key(0), x, mask, train=False)
    y = subnet.apply(variables, x, mask, train=False)
    cut = subnet.apply(variables, x[1:, :2], mask[1:, :2], train=False)
    np.testing.assert_allclose(y[1], cut[0], atol=1e-6)
    assert y.shape == (2, 5)


def test_filler_rows_do_not_reach_the_others_in_training():
    batch = SPEC.example(6)
    batch["valid"] = np.arange(6) < 4
    subnets = Subnets((6, 5, 4), 3, 0.0, 0.0, padded=False)
    variables = subnets.init(jax.random.key(0), batch, train=False)

    @jax.jit
    def embed(batch):
        return subnets.apply(variables, batch, train=True, mutable=["batch_stats"])

    other = {
        name: np.where(batch["valid"].reshape(-1, *[1] * (x.ndim - 1)), x, 5.0)
        if x.dtype == np.float32
        else x
        for name, x in batch.items()
    }
    (first, after), (second, again) = embed(batch), embed(other)
    for name, width in (("text", 3), ("audio", 5), ("vision", 4)):
        assert first[name].shape == (6, width)
        np.testing.assert_array_equal(first[name][:4], second[name][:4])
    jax.tree.map(np.testing.assert_array_equal, after, again)
