import jax
import numpy as np
import pytest

from msajax.nn.convolution import TemporalConvolution

X = np.random.default_rng(0).normal(size=(4, 6, 3)).astype(np.float32)
LENGTHS = np.array([6, 4, 2, 0])
MASK = np.arange(6)[None] < LENGTHS[:, None]


def convolve(x, mask, size=3, features=5, same=False):
    conv = TemporalConvolution(features, size, same)
    variables = conv.init(jax.random.key(0), x, mask)
    y, real = conv.apply(variables, x, mask)
    return (
        np.asarray(y),
        np.asarray(real),
        np.asarray(variables["params"]["conv"]["kernel"]),
    )


def test_windows_of_real_steps():
    y, real, kernel = convolve(X, MASK)
    np.testing.assert_array_equal(real.sum(1), [4, 2, 1, 0])
    for row, windows in ((0, 4), (1, 2)):
        for i in range(windows):
            want = np.einsum("kd,kdf->f", X[row, i : i + 3], kernel)
            np.testing.assert_allclose(y[row, i], want, atol=1e-5)
    short = np.einsum("kd,kdf->f", X[2, :2], kernel[:2])
    np.testing.assert_allclose(y[2, 0], short, atol=1e-5)


@pytest.mark.parametrize("size", [1, 6, 9])
def test_any_kernel_fits_any_length(size):
    y, real, _ = convolve(X, MASK, size)
    assert y.shape[1] == real.shape[1] == max(6 - size + 1, 1)
    np.testing.assert_array_equal(real.any(1), LENGTHS > 0)


def test_padding_and_its_length_do_not_matter():
    y, real, _ = convolve(X, MASK)
    longer = np.pad(np.where(MASK[..., None], X, 7.0), ((0, 0), (0, 3), (0, 0)))
    z, real_longer, _ = convolve(longer, np.pad(MASK, ((0, 0), (0, 3))))
    np.testing.assert_array_equal(real_longer[:, :4], real)
    np.testing.assert_allclose(z[:, :4][real], y[real], atol=1e-5)


def test_initial_values_fill_the_interval_of_pytorch():
    _, _, kernel = convolve(X, MASK, features=200)
    assert 0.32 < np.max(np.abs(kernel)) <= 1 / 3  # 1/sqrt(3 * 3)


@pytest.mark.parametrize("size", [1, 2, 3, 9])
def test_same_keeps_the_steps(size):
    y, real, kernel = convolve(X, MASK, size, same=True)
    np.testing.assert_array_equal(real, MASK)
    before = (size - 1) // 2
    for row, n in enumerate(LENGTHS):
        x = np.pad(X[row, :n], ((before, size // 2), (0, 0)))
        for i in range(n):
            want = np.einsum("kd,kdf->f", x[i : i + size], kernel)
            np.testing.assert_allclose(y[row, i], want, atol=1e-5)
    np.testing.assert_array_equal(y[~MASK], 0)
