import jax
import numpy as np
import pytest

from msajax.data.spec import Spec
from msajax.models.tfn import TFN

SPEC = Spec(dims=(5, 3, 4), lengths=(4, 6, 7), num_train=6)
SIZES = dict(hidden_dims=(6, 2, 3), text_out=4, post_fusion_dim=5)


def outputs(model, batch, seed=0):
    variables = jax.jit(lambda k, b: model.init(k, b, train=False))(
        jax.random.key(seed), batch
    )
    apply = jax.jit(lambda v, b: model.apply(v, b, train=False))
    return variables, jax.tree.map(np.asarray, apply(variables, batch))


def test_fusion_is_the_outer_product_with_ones():
    _, out = outputs(TFN(SPEC, **SIZES), SPEC.example(3))
    for row in range(3):
        a, v, t = (np.r_[1, out[m][row]] for m in ("audio", "vision", "text"))
        want = np.multiply.outer(np.multiply.outer(a, v), t).ravel()
        np.testing.assert_allclose(out["fusion"][row], want, atol=1e-6)
    assert out["fusion"].shape == (3, 3 * 4 * 5)


@pytest.mark.parametrize("low,high", [(-3.0, 3.0), (0.0, 1.0)])
def test_a_sigmoid_fills_the_output_range(low, high):
    model, batch = TFN(SPEC, **SIZES, output_range=(low, high)), SPEC.example(3)
    variables, _ = outputs(model, batch)
    last = variables["params"]["post_fusion_3"]
    for bias, share in ((-50.0, 0.0), (0.0, 0.5), (np.log(3.0), 0.75), (50.0, 1.0)):
        last["kernel"], last["bias"] = 0 * last["kernel"], np.float32([bias])
        pred = model.apply(variables, batch, train=False)["pred"]
        np.testing.assert_allclose(pred, low + share * (high - low), atol=1e-5)


def test_classes_get_logits_without_a_range():
    spec = Spec(SPEC.dims, SPEC.lengths, 6, label_range=None, classes=("a", "b"))
    _, out = outputs(TFN(spec, **SIZES, output_range=(100.0, 101.0)), spec.example(3))
    assert out["pred"].shape == (3, 2) and np.all(np.abs(out["pred"]) < 50)


def test_padded_is_the_reference_on_the_padded_length():
    batch = SPEC.example(4)
    model = TFN(SPEC, **SIZES, padded=True)
    variables, out = outputs(model, batch)
    whole = {k: np.ones_like(x) if k.endswith("_mask") else x for k, x in batch.items()}
    default = TFN(SPEC, **SIZES).apply(variables, whole, train=False)
    np.testing.assert_allclose(out["pred"], default["pred"], atol=1e-6)
    masked = TFN(SPEC, **SIZES).apply(variables, batch, train=False)
    assert np.abs(out["pred"] - masked["pred"]).max() > 1e-4
