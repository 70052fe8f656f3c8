import functools

import jax
import numpy as np

from msajax.data.spec import Spec
from msajax.models.lmf import LMF
from tests import random_bits

SPEC = Spec(dims=(5, 3, 4), lengths=(4, 6, 7), num_train=6)


def test_equals_a_full_tensor_of_low_rank():
    """Section 3.2 of the paper: the factors stand for one weight tensor on TFN's fusion."""
    model, batch = LMF(SPEC, hidden_dims=(6, 2, 3), rank=4), SPEC.example(3)
    run = jax.jit(functools.partial(model.init_with_output, train=False))
    out, variables = jax.device_get(run(random_bits.key(0), batch))
    p = variables["params"]
    tensor = np.einsum(
        "r,rac,rvc,rtc->avtc",
        p["fusion_weights"][0],
        p["audio_factor"],
        p["vision_factor"],
        p["text_factor"],
    )
    for row in range(3):
        a, v, t = (np.r_[1, out[m][row]] for m in ("audio", "vision", "text"))
        want = np.einsum("avtc,a,v,t->c", tensor, a, v, t) + p["fusion_bias"][0]
        np.testing.assert_allclose(out["pred"][row], want[0], atol=1e-5)
    assert out["text"].shape == (3, 3) and out["fusion"].shape == (3, 4)


def test_factors_start_with_pytorchs_xavier_variance():
    spec = Spec(dims=(5, 3, 4), lengths=(1, 1, 1), num_train=6)
    model = LMF(spec, hidden_dims=(400, 199, 9), rank=20)
    params = jax.jit(lambda k: model.init(k, spec.example(2), train=False))(
        jax.random.key(1)
    )["params"]
    for name, width in (("text_factor", 201), ("audio_factor", 200)):
        np.testing.assert_allclose(np.var(params[name]), 2 / (width + 20), rtol=0.08)
