import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from msajax import parallel
from msajax.train import evaluate, feed


class Recorded:
    """In place of a system: knows which methods ran."""

    def __init__(self, gives_pred):
        self.gives_pred, self.methods = gives_pred, []

    def apply(self, variables, batch, *, train, method, progress=None):
        assert not train
        self.methods.append(method)
        if method in ("__call__", "teacher"):
            return {"pred": batch["x"] * variables}
        terms = {"pred": batch["x"] * variables} if self.gives_pred else {}
        return batch["x"].sum() + progress["fraction"], terms


@pytest.mark.parametrize(
    ("gives_pred", "loss", "methods"),
    [
        (True, "loss", ["loss"]),
        (False, "loss", ["loss", "__call__"]),
        (True, "", ["__call__"]),
    ],
)
def test_a_loss_that_gives_the_predictions_is_the_only_pass(gives_pred, loss, methods):
    model = Recorded(gives_pred)
    devices = parallel.find_devices(1)
    forward = evaluate.make_forward(model, predict="__call__", loss=loss)
    part = {"x": np.array([1.0, 10.0, 100.0], np.float32), "index": np.arange(3)}
    source = feed.source([part], devices, resident=True)
    progress = {"fraction": np.float32(0.5), "lr_scale": np.ones(1, np.float32)}
    variables, progress = parallel.replicate((np.float32([2]), progress), devices)
    pred, losses = forward(variables, source, 2, progress)
    np.testing.assert_array_equal(pred, [[2, 20, 200]])
    # Batches of two rows and one, each with the loss x + 0.5; the filler repeats x = 1.
    np.testing.assert_allclose(losses, [(2 * 11.5 + 101.5) / 3 if loss else 0])
    assert model.methods == methods


def test_another_method_is_asked_itself():
    model = Recorded(gives_pred=True)
    devices = parallel.find_devices(1)
    forward = evaluate.make_forward(model, predict="teacher", loss="loss")
    part = {"x": np.ones(2, np.float32), "index": np.arange(2)}
    source = feed.source([part], devices, resident=True)
    progress = {"fraction": np.float32(0.5), "lr_scale": np.ones(1, np.float32)}
    variables, progress = parallel.replicate((np.float32([2]), progress), devices)
    forward(variables, source, 2, progress)
    assert model.methods == ["loss", "teacher"]


class Given:
    """In place of a system: its loss is a function of a batch."""

    def __init__(self, loss):
        self.loss = loss

    def apply(self, variables, batch, *, train, method, progress):
        del variables, train, method, progress
        return self.loss(batch), {"pred": batch["x"]}


@pytest.mark.parametrize(
    ("loss", "size", "expected"),
    [
        # Of the batches 1, 2, 3 and 4, 5, 6, which two devices do not divide evenly.
        (lambda b: parallel.batch_mean(b["x"], where=b["valid"]) ** 2, 3, 14.5),
        # Each device has a mean of its own.
        (lambda b: jnp.mean(b["x"]), 6, 3.5),
    ],
)
def test_two_devices_have_the_batches_and_losses_of_one(loss, size, expected):
    part = {"x": np.arange(1, 7, dtype=np.float32), "index": np.arange(6)}
    progress = {"fraction": np.float32(0.5), "lr_scale": np.ones(1, np.float32)}
    forward = evaluate.make_forward(Given(loss), predict="__call__", loss="loss")
    for count in (1, 2):
        devices = parallel.find_devices(count)
        source = feed.source([part], devices, resident=True)
        pred, losses = forward(np.zeros(1), source, size, progress)
        np.testing.assert_array_equal(pred, [part["x"]])
        np.testing.assert_allclose(losses, [expected])


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (jnp.ones(()), "Recorded.loss returns an array; return a tuple of the scalar"),
        (
            (np.float32(1), np.float32(1)),
            "Recorded.loss returns a tuple; return a tuple",
        ),
        (
            (np.ones(4), {}),
            r"returns the loss of shape \(4,\), but must return a scalar",
        ),
        (
            (np.float32(1), {"size": np.ones((4, 2))}),
            r"returns size of shape \(4, 2\), but must return a scalar; parallel.batch_mean",
        ),
    ],
)
def test_a_loss_that_is_none(returned, message):
    with pytest.raises(ValueError, match=message):
        evaluate.loss_and_terms(Recorded(True), "loss", returned)


@pytest.mark.parametrize(
    "precision,products,kind",
    [
        ("float32", "HIGHEST", "f32"),
        ("tf32", "HIGH", "f32"),
        ("bfloat16", "HIGHEST", "bf16"),
    ],
)
def test_a_precision_is_that_of_forward_and_backward_products(
    precision, products, kind
):
    class Square(nn.Module):
        @nn.compact
        def __call__(self, batch):
            return jnp.sum(nn.Dense(3, dtype=None)(batch["text"]) ** 2)

    batch = {"text": jnp.ones((2, 4))}
    variables = Square().init(jax.random.key(0), batch)

    def loss(variables):
        return evaluate.apply(Square(), variables, batch, precision).astype(jnp.float32)

    with jax.default_matmul_precision("float32"):  # as `run.devices.set_up`
        text = str(jax.make_jaxpr(jax.grad(loss))(variables))
    dots = text.split("dot_general")
    assert len(dots) == 3  # the product, and the gradient of its kernel
    for before, after in zip(dots, dots[1:], strict=False):
        assert f":{kind}[" in before[-20:]
        assert f"precision=(Precision.{products}, Precision.{products})" in after
