import functools

import jax
import numpy as np

from msajax import weights
from msajax.data.spec import Spec
from msajax.models.mfn import MFN
from msajax.nn.align import align

UNALIGNED = Spec(dims=(5, 3, 4), lengths=(6, 9, 8), num_train=6)
ALIGNED = Spec(dims=(5, 3, 4), lengths=(6, 6, 6), num_train=6)
SIZES = dict(
    hidden_dims=(4, 3, 2), memory=5, attention_dim=6, gate_dims=(3, 4, 5), out_dim=4
)


@functools.cache
def variables():
    like = weights.template(MFN(ALIGNED, **SIZES), ALIGNED.example(2), train=False)
    rng = np.random.default_rng(1)  # drawn by numpy: no program to compile
    return jax.tree.map(
        lambda x: rng.uniform(-0.5, 0.5, x.shape).astype(np.float32), like
    )


def predict(model, batch):
    run = jax.jit(lambda v, b: model.apply(v, b, train=False)["pred"])
    return np.asarray(run(variables(), batch))


def test_unequal_lengths_are_aligned_to_the_text():
    batch = UNALIGNED.example(4)
    pred = predict(MFN(UNALIGNED, **SIZES), batch)
    for m in ("audio", "vision"):
        batch[m], batch[f"{m}_mask"] = align(
            batch[m], batch[f"{m}_mask"], batch["text_mask"]
        )
    np.testing.assert_allclose(pred, predict(MFN(ALIGNED, **SIZES), batch), atol=1e-6)


def test_averages_stand_in_each_step_of_the_text():
    for padded in (False, True):
        batch = UNALIGNED.example(4)
        pred = predict(MFN(UNALIGNED, **SIZES, average_av=True, padded=padded), batch)
        for m in ("audio", "vision"):
            mask = batch[f"{m}_mask"] | padded
            mean = batch[m].sum(1) / mask.sum(1, keepdims=True)
            batch[m] = np.repeat(mean[:, None], 6, axis=1)
            batch[f"{m}_mask"] = batch["text_mask"]
        plain = MFN(ALIGNED, **SIZES, padded=padded)
        np.testing.assert_allclose(pred, predict(plain, batch), atol=1e-6)


def test_padding_counts_where_the_reference_counts_it():
    batch = ALIGNED.example(4)
    pred = predict(MFN(ALIGNED, **SIZES), batch)
    assert (
        np.abs(pred - predict(MFN(ALIGNED, **SIZES, padded=True), batch)).max() > 1e-4
    )


def test_aligned_sequences_cut_to_unequal_lengths_stay_aligned():
    batch = ALIGNED.example(4)
    batch["audio_mask"][:, 4:] = False
    batch["audio"][:, 4:] = 0
    wanted = predict(MFN(ALIGNED, **SIZES), batch)
    batch["audio"], batch["audio_mask"] = (
        batch["audio"][:, :4],
        batch["audio_mask"][:, :4],
    )
    np.testing.assert_allclose(predict(MFN(ALIGNED, **SIZES), batch), wanted, atol=1e-6)
