import functools

import jax
import numpy as np
import pytest

from msajax.data.spec import Spec
from msajax.models.ef_lstm import EFLSTM
from msajax.nn.align import align
from tests import random_bits

ALIGNED = Spec(dims=(5, 3, 4), lengths=(6, 6, 6), num_train=6)
UNALIGNED = Spec(dims=(5, 3, 4), lengths=(6, 9, 8), num_train=6)
SIZES = dict(hidden_dim=7, layers=2)


@functools.cache
def compiled(model):
    return [
        jax.jit(functools.partial(method, train=False))
        for method in (model.init, model.apply)
    ]


def predict(model, batch, variables=None):
    init, apply = compiled(model)
    if variables is None:
        variables = init(random_bits.key(0), batch)
    return variables, np.asarray(apply(variables, batch)["pred"])


def test_unequal_lengths_are_aligned_to_the_text():
    batch = UNALIGNED.example(4)
    variables, pred = predict(EFLSTM(UNALIGNED, **SIZES), batch)
    for name in ("audio", "vision"):
        batch[name], batch[f"{name}_mask"] = align(
            batch[name], batch[f"{name}_mask"], batch["text_mask"]
        )
    _, aligned = predict(EFLSTM(ALIGNED, **SIZES), batch, variables)
    np.testing.assert_allclose(pred, aligned, atol=1e-6)
    assert variables["params"]["norm"]["scale"].shape == (6,)


def test_a_step_is_real_where_any_modality_is():
    batch = ALIGNED.example(2)
    for name in ("text", "audio", "vision"):
        batch[f"{name}_mask"] = np.zeros((2, 6), bool)
    batch["vision_mask"][:, :4] = True
    model = EFLSTM(ALIGNED, **SIZES)
    variables, pred = predict(model, batch)
    for step, matters in ((3, True), (4, False)):
        other = {**batch, "audio": batch["audio"].copy()}
        other["audio"][:, step] += 1.0
        moved = np.abs(predict(model, other, variables)[1] - pred).max() > 1e-6
        assert moved == matters, step


@pytest.mark.parametrize("padded", [False, True])
def test_statistics_of_a_step_are_over_rows_and_features(padded):
    batch = ALIGNED.example(4)
    batch["valid"] = np.array([True, True, True, False])
    for name in ("audio", "vision"):
        batch[f"{name}_mask"] = batch["text_mask"]
    model = EFLSTM(ALIGNED, **SIZES, dropout=0.0, padded=padded)
    variables, _ = predict(model, batch)
    train = functools.partial(model.apply, train=True, mutable=["batch_stats"])
    _, after = jax.jit(train)(variables, batch)
    x = np.concatenate([batch["text"], batch["audio"], batch["vision"]], axis=-1)
    counts = batch["valid"][:, None] & (batch["text_mask"] | padded)
    for step in range(6):
        values = x[counts[:, step], step].ravel()
        want = 0.1 * values.mean() if values.size else 0.0
        got = after["batch_stats"]["norm"]["mean"][step]
        np.testing.assert_allclose(got, want, atol=1e-6)
