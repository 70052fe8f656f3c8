"""What all systems share: the task loss, with and without weights of the classes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from msajax import parallel
from msajax.data.spec import Spec
from msajax.models.base import Model

SPEC = Spec((3, 1, 1), (1, 1, 1), 8, None, ("a", "b", "c"))
WEIGHTS = (4.0, 1.0, 0.5)
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(8, 3)).astype(np.float32)
BATCH = {
    "label": np.array([0, 1, 2, 2, 1, 0, 2, 1], np.int32),
    "valid": np.arange(8) != 5,
}


def by_hand(weights):
    rows = BATCH["valid"]
    logits, label = LOGITS[rows].astype(np.float64), BATCH["label"][rows]
    values = np.log(np.exp(logits).sum(1)) - logits[np.arange(7), label]
    return np.average(values, weights=np.asarray(weights)[label])


def loss(weights, logits, batch):
    return Model(SPEC, class_weights=weights).task_loss(logits, batch)


def test_classes_count_by_their_weights():
    np.testing.assert_allclose(loss((), LOGITS, BATCH), by_hand((1, 1, 1)), rtol=1e-6)
    found = loss(WEIGHTS, LOGITS, BATCH)
    np.testing.assert_allclose(found, by_hand(WEIGHTS), rtol=1e-6)
    assert abs(found - by_hand((1, 1, 1))) > 0.01
    # Only their relation counts, as in PyTorch.
    larger = tuple(10 * w for w in WEIGHTS)
    np.testing.assert_allclose(loss(larger, LOGITS, BATCH), found, rtol=1e-6)


def test_rows_without_a_label_weigh_nothing():
    labelled = np.arange(8) < 6
    part = {**BATCH, "valid": BATCH["valid"] & labelled}
    found = loss(WEIGHTS, LOGITS, {**BATCH, "labelled": labelled})
    assert found == loss(WEIGHTS, LOGITS, part) != loss(WEIGHTS, LOGITS, BATCH)


def test_weights_are_of_the_global_batch():
    devices = parallel.find_devices(4)

    def gradient(logits, batch):
        return jax.grad(lambda x: loss(WEIGHTS, x, batch))(logits)

    run = parallel.compile(gradient, devices, in_axes=(0, 0), out_axes=0)
    dealt = jax.tree.map(
        lambda x: jnp.reshape(x, (4, 2, *x.shape[1:])), (LOGITS, BATCH)
    )
    # Averaging over devices is exact: a device's gradient of its rows is four times the whole's.
    found = np.reshape(run(*dealt), (8, 3)) / 4
    np.testing.assert_allclose(found, gradient(LOGITS, BATCH), atol=1e-6)
    assert not found[5].any()


def test_a_batch_without_rows_that_count_weighs_nothing():
    empty = {**BATCH, "valid": np.zeros(8, bool)}
    value, slope = jax.value_and_grad(lambda x: loss(WEIGHTS, x, empty))(LOGITS)
    assert value == 0 and not slope.any()


@pytest.mark.parametrize(
    "weights,spec,message",
    [
        (
            (1.0, 2.0),
            SPEC,
            r"\(1.0, 2.0\), but must be .* each of the 3 classes .*: a, b, c",
        ),
        ((1.0, 2.0, 0.0), SPEC, "one positive number"),
        ((1.0,), Spec((3, 1, 1), (1, 1, 1), 8), "0 classes of the data, a regression"),
    ],
)
def test_weights_that_do_not_fit(weights, spec, message):
    with pytest.raises(ValueError, match=message):
        Model(spec, class_weights=weights)
