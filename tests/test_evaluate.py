import numpy as np
import pytest

from msajax import evaluate, parallel


class Recorded:
    """In place of a system: knows which methods ran."""

    def __init__(self, gives_pred):
        self.gives_pred, self.methods = gives_pred, []

    def apply(self, variables, batch, *, train, method, progress=None):
        assert not train
        self.methods.append(method)
        if method == "predict":
            return {"pred": batch["x"] * variables}
        terms = {"pred": batch["x"] * variables} if self.gives_pred else {}
        return batch["x"].sum() + progress, terms


@pytest.mark.parametrize(
    ("gives_pred", "loss", "methods"),
    [
        (True, "loss", ["loss"]),
        (False, "loss", ["loss", "predict"]),
        (True, "", ["predict"]),
    ],
)
def test_a_loss_that_gives_the_predictions_is_the_only_pass(gives_pred, loss, methods):
    model = Recorded(gives_pred)
    devices = parallel.find_devices(1)
    forward = evaluate.make_forward(model, devices, predict="predict", loss=loss)
    rows = np.array([[2, 0], [1, -1]], np.int32)
    values = np.array([1.0, 10.0, 100.0], np.float32)
    arguments = parallel.replicate((np.float32(2), {"x": values}), devices)
    progress = parallel.replicate(np.float32(0.5), devices)
    pred, losses = forward(*arguments, rows, progress)
    np.testing.assert_array_equal(pred, [200, 2, 20])
    np.testing.assert_array_equal(losses, [101.5, 11.5] if loss else [0, 0])
    assert model.methods == methods
