import functools

import jax
import numpy as np
import pytest

from msajax import weights
from msajax.data.spec import MODALITIES, Spec
from msajax.models.mfm import MFM, STREAMS, mmd

SPEC = Spec(dims=(5, 3, 4), lengths=(4, 4, 4), num_train=6)
SIZES = dict(
    latent_dims=(3, 2, 4, 5),
    factor_dims=(4, 3, 2, 5),
    hidden_dims=(3, 2, 2),
    memory=4,
    attention_dim=3,
    gate_dims=(3, 4, 2),
)
BATCH = SPEC.example(5) | {"valid": np.arange(5) < 4}
RNG = np.random.default_rng(0)
VECTORS = RNG.normal(size=(2, 7, 3)).astype(np.float32)
ROWS = np.arange(7) < 6


@functools.cache
def outputs():
    """Parameters, and what `__call__` gives of them."""
    model = MFM(SPEC, **SIZES)
    run = jax.jit(lambda v, b: model.apply(v, b, train=False))
    rng = np.random.default_rng(1)  # drawn by numpy: no program to compile
    variables = jax.tree.map(
        lambda like: rng.uniform(-0.5, 0.5, like.shape).astype(np.float32),
        weights.template(model, BATCH, train=False),
    )
    return variables, run, jax.device_get(run(variables, BATCH))


@pytest.mark.parametrize("scale,width", [("d2", 9), ("d", 3)])
def test_mmd_by_hand(scale, width):
    def kernel(a, b):
        pairs = [np.exp(-((p - q) ** 2).sum() / width) for p in a[:6] for q in b[:6]]
        return np.mean(pairs)

    x, y = VECTORS
    wanted = kernel(x, x) + kernel(y, y) - 2 * kernel(x, y)
    got = mmd(x, y, where=ROWS, scale=scale)
    np.testing.assert_allclose(got, wanted, atol=1e-6)
    assert got > 0


def test_mmd_of_the_same_vectors_is_0_and_of_none():
    x, y = VECTORS
    assert mmd(x, x, where=ROWS) == 0
    grad = jax.grad(lambda x: mmd(x, y, where=ROWS & False))(x)
    np.testing.assert_array_equal(grad, 0)


def regularisers(batch, **fields):
    """Their terms by the module, where the samples are the latent vectors but for the text's."""
    _, _, out = outputs()
    samples = {name: out[f"latent_{name}"] for name in STREAMS}
    samples["text"] = samples["text"] + 1
    model = MFM(SPEC, **SIZES, **fields)
    run = jax.jit(
        lambda batch: model.apply({}, out, batch, samples, method="regularisers")
    )
    return out, samples, run(batch)


def test_terms_of_the_loss_are_over_rows_and_steps_that_count():
    batch = dict(BATCH)
    batch["text_mask"] = batch["text_mask"] & (np.arange(5) != 1)[:, None]
    out, samples, terms = regularisers(batch)
    for m in MODALITIES:
        rows = batch["valid"] & batch[f"{m}_mask"].any(1)
        errors = out[f"error_{m}"][rows][out[f"steps_{m}"][rows]]
        wanted = np.square(errors).mean()
        np.testing.assert_allclose(terms[f"reconstruction_{m}"], wanted, rtol=1e-5)
    rows = batch["valid"] & batch["text_mask"].any(1)
    wanted = mmd(out["latent_text"], samples["text"], where=rows)
    np.testing.assert_allclose(terms["mmd"], wanted, rtol=1e-5)


def test_the_decoders_and_encoders_of_one_modality_do_not_predict():
    variables, run, before = outputs()
    params = {
        k: jax.tree.map(lambda x: x + 1, v) if k.startswith(("decode", "encode")) else v
        for k, v in variables["params"].items()
    }
    after = run({"params": params}, BATCH)
    np.testing.assert_array_equal(before["pred"], after["pred"])
    assert np.abs(before["error_text"] - after["error_text"]).max() > 0.1
    assert np.abs(before["latent_text"] - after["latent_text"]).max() > 0.1


def test_evaluation_takes_the_error_of_the_prediction_alone():
    variables, _, out = outputs()
    model = MFM(SPEC, **SIZES)
    run = functools.partial(model.apply, batch=BATCH, method="loss", progress={})
    loss, terms = jax.jit(lambda v: run(v, train=False))(variables)
    wanted = np.abs(out["pred"] - BATCH["label"])[:4].mean()
    np.testing.assert_allclose(loss, wanted, rtol=1e-6)
    assert terms.keys() == {"pred"}


def test_an_unknown_scale_is_refused():
    with pytest.raises(ValueError, match='mmd_scale is "d3".*Known: d, d2'):
        jax.eval_shape(
            lambda: MFM(SPEC, mmd_scale="d3").init(
                jax.random.key(0), BATCH, train=False
            )
        )
