"""Distances against scipy's, and their gradients where two rows are the same."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial import distance

from msajax.models.cormult.distances import DISTANCES

X, Y = np.random.default_rng(0).normal(size=(2, 4, 2, 3)).astype(np.float32)
COVARIANCE = np.array([[2, 0.5, 0], [0.5, 1, 0.2], [0, 0.2, 0.5]], np.float32)
SCIPY = {"manhattan": "cityblock"}


@pytest.mark.parametrize("name", sorted(set(DISTANCES) - {"mahalanobis"}))
def test_scipys(name):
    reference = getattr(distance, SCIPY.get(name, name))
    wanted = [reference(x.ravel(), y.ravel()) for x, y in zip(X, Y, strict=True)]
    np.testing.assert_allclose(DISTANCES[name](X, Y), wanted, rtol=1e-5)


def test_mahalanobis_shares_its_covariance_over_time():
    inverse = np.kron(np.eye(2), np.linalg.inv(COVARIANCE))
    wanted = [
        distance.mahalanobis(x.ravel(), y.ravel(), inverse)
        for x, y in zip(X, Y, strict=True)
    ]
    found = DISTANCES["mahalanobis"](X, Y, COVARIANCE)
    np.testing.assert_allclose(found, wanted, rtol=1e-4)


@pytest.mark.parametrize("name", DISTANCES)
def test_gradients_are_finite_at_zero_and_at_equal_rows(name):
    more = (COVARIANCE,) if name == "mahalanobis" else ()
    zero = jnp.zeros_like(X)
    for x, y in ((X, X), (zero, X), (zero, zero)):
        found = jax.grad(lambda v, w: DISTANCES[name](v, w, *more).sum())(x, y)
        assert np.isfinite(found).all()
