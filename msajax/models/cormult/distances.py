"""Distances between the rows of two arrays, [B, T, D] each -> [B] float32."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from msajax.nn.norm import l2_norm


def euclidean(x: jax.Array, y: jax.Array) -> jax.Array:
    """Length of x - y; its gradient at 0 is 0."""
    return l2_norm(_flat(x) - _flat(y))[:, 0]


def manhattan(x: jax.Array, y: jax.Array) -> jax.Array:
    """Sum of |x - y|."""
    return jnp.sum(jnp.abs(_flat(x) - _flat(y)), axis=-1)


def chebyshev(x: jax.Array, y: jax.Array) -> jax.Array:
    """Largest |x - y|."""
    return jnp.max(jnp.abs(_flat(x) - _flat(y)), axis=-1)


def cosine(x: jax.Array, y: jax.Array) -> jax.Array:
    """1 - cosine similarity; 1 where either is zero."""
    x, y = (v / jnp.maximum(l2_norm(v), 1e-12) for v in (_flat(x), _flat(y)))
    return 1 - jnp.sum(x * y, axis=-1)


def mahalanobis(x: jax.Array, y: jax.Array, covariance: jax.Array) -> jax.Array:
    """Length of x - y in units of a covariance [D, D], which the T vectors of a row share."""
    difference = (_flat(x) - _flat(y)).reshape(-1, x.shape[-1])
    # Lengths of L^-1 (x - y), where the covariance is L L^T
    root = jnp.linalg.cholesky(covariance)
    scaled = jax.scipy.linalg.solve_triangular(root, difference.T, lower=True).T
    return l2_norm(scaled.reshape(x.shape[0], -1))[:, 0]


DISTANCES: Mapping[str, Callable[..., jax.Array]] = {
    "cosine": cosine,
    "euclidean": euclidean,
    "manhattan": manhattan,
    "chebyshev": chebyshev,
    "mahalanobis": mahalanobis,
}


def _flat(x: jax.Array) -> jax.Array:
    """[B, T, D] -> [B, T D] float32."""
    return x.reshape(x.shape[0], -1).astype(jnp.float32)
