"""ICCN: canonical correlations, what each view reads, and the two ways to train."""

import functools

import flax.linen as nn
import jax
import numpy as np
import pytest

from msajax.data.spec import Spec
from msajax.models import iccn
from msajax.models.iccn import ICCN, correlation
from msajax.run import recipe
from msajax.train import step
from tests import random_bits

SPEC = Spec((5, 3, 4), (4, 7, 6), 6)
SIZES = dict(text_dim=5, dim=4, channels=(4, 8), view_dim=3, canonical=2, out_dim=6)
SIZES |= dict(dropout=0.0)
ROWS = 40
EVERY = np.ones(ROWS, bool)


def views(width=4, noise=1.0):
    """Two views that share what is behind them."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, width))
    y = x @ rng.normal(size=(width, width + 1)) + noise * rng.normal(
        size=(ROWS, width + 1)
    )
    return np.float32(x), np.float32(y)


@functools.partial(jax.jit, static_argnames=("count", "ridge"))
def correlated(x, y, where, count=3, ridge=1e-3):
    return correlation(x, y, where=where, count=count, ridge=ridge)


def by_hand(x, y, count, ridge):
    def root(s):
        values, vectors = np.linalg.eigh(s + ridge * np.eye(len(s)))
        return vectors / np.sqrt(values) @ vectors.T

    x, y = (v - v.mean(0) for v in np.float64([x, y[:, : x.shape[1]]]))
    n = len(x) - 1
    t = root(x.T @ x / n) @ (x.T @ y / n) @ root(y.T @ y / n)
    return np.linalg.svd(t)[1][:count].sum()


@pytest.mark.parametrize("ridge", [1e-3, 1.0])
def test_correlations_are_those_of_the_whitened_views(ridge):
    x, y = views()
    found = correlated(x, y[:, :4], EVERY, ridge=ridge)
    np.testing.assert_allclose(found, by_hand(x, y, 3, ridge), rtol=1e-4)


def test_the_loss_is_between_minus_k_and_0():
    x, y = views()
    rng = np.random.default_rng(1)
    for other in (y, x, rng.normal(size=y.shape).astype(np.float32), np.zeros_like(y)):
        assert -1e-6 <= correlated(x, other, EVERY) <= 3 + 1e-6
    np.testing.assert_allclose(correlated(x, x, EVERY), 3, atol=0.01)  # equal views
    assert correlated(x, np.zeros_like(y), EVERY) == 0


def test_invertible_maps_of_a_view_change_nothing():
    x, y = views()
    rng = np.random.default_rng(2)
    a, b = (rng.normal(size=(n, n)) + 2 * np.eye(n) for n in (4, 5))
    moved = np.float32(x @ a + 3), np.float32(y @ b - 1)
    plain = correlated(x, y, EVERY, ridge=1e-6)
    np.testing.assert_allclose(correlated(*moved, EVERY, ridge=1e-6), plain, rtol=1e-3)


def test_rows_that_do_not_count_change_nothing():
    x, y = views()
    where = np.arange(ROWS) < 30
    noisy = np.where(where[:, None], x, 9)
    found = correlated(noisy, y, where)
    np.testing.assert_allclose(found, correlated(x[:30], y[:30], EVERY[:30]), rtol=1e-5)
    assert correlated(x, y, ~EVERY) == 0


@jax.jit
def slope(x, y):
    return jax.grad(lambda x: correlation(x, y, where=EVERY, count=2, ridge=1e-3))(x)


def test_gradients_are_finite_also_where_eigenvalues_are_equal():
    x, y = views(width=3)
    y = y[:, :3]
    for pair in ((x, y), (np.zeros_like(x), y), (np.ones_like(x), np.ones_like(y))):
        assert np.isfinite(slope(*pair)).all()
    better = x + 0.5 * slope(x, y)
    before, after = (correlated(v, y, EVERY, count=2) for v in (x, better))
    assert after > before


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize(("rows", "rank"), [(4, 3), (ROWS, 2), (ROWS, 10)])
def test_views_of_few_rows_or_low_rank(scale, rows, rank):
    rng = np.random.default_rng(3)
    low = [rng.normal(size=(ROWS, rank)) @ rng.normal(size=(rank, 50)) for _ in "xy"]
    x, y = (np.float32(scale * v + 5 * scale) for v in low)
    found = correlated(x, y, np.arange(ROWS) < rows, count=10)
    assert 0 <= found <= min(rank, 10) + 0.1
    assert np.isfinite(slope(x, y)).all()


@functools.cache
def ready(**fields):
    """A system, its variables, and its jitted outputs and losses in training."""
    model = ICCN(SPEC, **SIZES, **fields)
    variables = step.variables(step.init(model, random_bits.key(0)))

    def run(variables, batch):
        options = dict(train=True, progress={})
        found = {
            name: model.apply(variables, batch, method=name, **options)
            for name in ("loss", "cca_loss", "output_loss")
        }
        return model.apply(variables, batch, train=False), found

    return model, variables, jax.jit(run)


def test_a_view_reads_text_and_its_own_modality():
    _, variables, run = ready()
    batch = SPEC.example(6)
    plain, _ = run(variables, batch)
    for m, other in (("audio", "vision"), ("vision", "audio")):
        found, _ = run(variables, {**batch, m: 1 + batch[m]})
        assert np.abs(found[f"view_{m}"] - plain[f"view_{m}"]).max() > 1e-4
        np.testing.assert_array_equal(found[f"view_{other}"], plain[f"view_{other}"])
    found, _ = run(variables, {**batch, "text": 1 + batch["text"]})
    for m in ("audio", "vision"):
        assert np.abs(found[f"view_{m}"] - plain[f"view_{m}"]).max() > 1e-4
    parts = [plain["view_audio"], plain["text"], plain["view_vision"]]
    np.testing.assert_array_equal(plain["fusion"], np.concatenate(parts, axis=1))


def test_the_loss_is_the_weighted_sum():
    _, variables, run = ready()
    _, found = run(variables, SPEC.example(6))
    (total, terms), (cca, _) = found["loss"], found["cca_loss"]
    np.testing.assert_allclose(total, terms["task"] + 0.1 * cca, rtol=1e-5)
    assert -2 <= cca < 0 and cca == terms["cca"]
    # As many rows as a view is wide: any two views correlate fully.
    few = {**SPEC.example(6), "valid": np.arange(6) < 3}
    _, found = run(variables, few)
    assert found["cca_loss"][0] == 0
    assert found["output_loss"][0] == found["loss"][0] == found["loss"][1]["task"]


def test_text_with_one_other_modality_has_no_correlation():
    spec = Spec((5, 1, 4), (4, 1, 6), 6)
    model = ICCN(spec, **SIZES)
    shapes = step.shapes(model).params
    assert not any("audio" in name for name in shapes)
    options = dict(train=True, progress={})
    with pytest.raises(ValueError, match="is of audio and vision, but the data has"):
        model.apply({}, spec.example(2), method="cca_loss", **options)
    with pytest.raises(
        ValueError, match="width 3 .*, not 4; set config.model.canonical"
    ):
        step.shapes(ICCN(SPEC, **{**SIZES, "canonical": 4}))
    alone = Spec((5, 1, 1), (4, 1, 1), 6)
    with pytest.raises(
        ValueError, match="text with audio, vision or both, but .* text"
    ):
        step.shapes(ICCN(alone, **SIZES))


def test_two_phases_leave_the_output_to_the_second():
    first, second = recipe.load("iccn:mosi/two_phases").plan
    losses = "cca_loss", 25, "output_loss"
    assert (first.loss, first.epochs, second.loss) == losses
    assert first.train == r"(?!out/).*" and second.train == r"out/.*"


def test_patches_and_halves_are_a_convolution_and_a_pooling():
    """Against flax's, of an image with odd sides."""
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(2, 5, 7, 3)), rng.normal(size=(3, 3, 3, 4))
    x, kernel = np.float32(x), np.float32(kernel)
    dims = ("NHWC", "HWIO", "NHWC")
    wanted = jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=dims
    )
    found = iccn._patches(x, 3) @ kernel.reshape(27, 4)
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    pooled = nn.max_pool(wanted, (2, 2), strides=(2, 2))
    np.testing.assert_array_equal(iccn._halved(wanted), pooled)
