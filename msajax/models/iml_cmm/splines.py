"""B-splines: of a uniform grid in closed form, of any other knots by recursion, and coefficients from points.

On uniform knots all splines are one polynomial of pieces, shifted: a few elementwise
operations, which XLA fuses, and no recursion.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True)
class Grid:
    """A uniform grid, with `order` more knots on both sides.

    Attributes:
      size: number of intervals G between low and high.
      order: degree k of the splines, at least 1.
      low, high: the range in which the splines sum to 1.
    """

    size: int = 5
    order: int = 3
    low: float = -1.0
    high: float = 1.0

    def __post_init__(self):
        if self.size < 1 or self.order < 1 or not self.low < self.high:
            raise ValueError(
                f"{self} is no grid; it needs size >= 1, order >= 1 and low < high "
                "(grid_size, order and grid_range of config.model)"
            )

    @property
    def num_splines(self) -> int:
        """Number of B-splines, G + k."""
        return self.size + self.order

    @property
    def step(self) -> float:
        """Distance between two knots."""
        return (self.high - self.low) / self.size

    @property
    def knots(self) -> np.ndarray:
        """[G + 2 k + 1] float32."""
        numbers = np.arange(-self.order, self.size + self.order + 1)
        return (self.low + self.step * numbers).astype(np.float32)


def basis(x: jax.Array, grid: Grid) -> jax.Array:
    """The B-splines of a uniform grid in closed form: [...] -> [..., G + k] float32."""
    return jnp.stack(splines(x, grid), axis=-1)


def cox_de_boor(x: jax.Array, knots: jax.Array, *, order: int) -> jax.Array:
    """The B-splines of any knots, by recursion over the order.

    Args:
      x: [..., I] float32.
      knots: [I, K] float32, of each input, not decreasing.
      order: degree k.

    Returns:
      [..., I, K - 1 - k] float32.
    """
    x = x.astype(jnp.float32)[..., None]
    knots = jnp.expand_dims(knots, tuple(range(x.ndim - 2)))
    values = ((knots[..., :-1] <= x) & (x < knots[..., 1:])).astype(jnp.float32)
    for p in range(1, order + 1):
        # Where knots coincide, what is divided by their distance is zero.
        span = knots[..., p:] - knots[..., :-p]
        inverse = jnp.where(span > 0, 1 / jnp.where(span > 0, span, 1), 0)
        rise = (x - knots[..., : -p - 1]) * inverse[..., :-1] * values[..., :-1]
        fall = (knots[..., p + 1 :] - x) * inverse[..., 1:] * values[..., 1:]
        values = rise + fall
    return values


def fit(
    points: jax.Array, values: jax.Array, knots: jax.Array, *, order: int
) -> jax.Array:
    """Coefficients of the splines through (or, if that cannot be, nearest to) points.

    Args:
      points: [n, I] float32.
      values: [n, I, O] float32.
      knots: [I, K] float32.
      order: degree k.

    Returns:
      [K - 1 - k, I, O] float32; of all solutions the one of least norm.
    """
    matrices = jnp.swapaxes(cox_de_boor(points, knots, order=order), 0, 1)
    coefficients = least_squares(matrices, jnp.swapaxes(values, 0, 1))
    return jnp.swapaxes(coefficients, 0, 1)


def least_squares(matrices: jax.Array, values: jax.Array) -> jax.Array:
    """Solutions of least norm: [I, n, m], [I, n, O] -> [I, m, O]."""
    return jax.vmap(lambda a, b: jnp.linalg.lstsq(a, b)[0])(matrices, values)


def splines(x: jax.Array, grid: Grid) -> list[jax.Array]:
    """The G + k splines of a uniform grid, float32 arrays like x.

    Each is a sum of truncated powers, sum_j (-1)^j binom(k + 1, j) max(s - j, 0)^k / k!
    where x lies s steps behind the spline's first knot. It is symmetric, so s may be
    taken from the nearer end, where half of the terms are zero.
    """
    order = grid.order
    return [
        _powers(jnp.minimum(s, order + 1 - s), order, order)
        for s in _positions(x, grid)
    ]


def slopes(x: jax.Array, grid: Grid) -> list[jax.Array]:
    """Derivatives of `splines` by x."""
    order, made = grid.order, []
    for s in _positions(x, grid):
        slope = _powers(jnp.minimum(s, order + 1 - s), order, order - 1) / grid.step
        made.append(jnp.where(2 * s < order + 1, slope, -slope))
    return made


def _positions(x: jax.Array, grid: Grid) -> list[jax.Array]:
    """Steps from the first knot of each spline, whose last is at k + 1."""
    # From the middle of the grid, where numbers are smallest: their last digits count.
    middle = (x.astype(jnp.float32) - (grid.low + grid.high) / 2) / grid.step
    first = grid.size / 2 + grid.order
    return [middle + (first - c) for c in range(grid.num_splines)]


def _powers(s: jax.Array, order: int, power: int) -> jax.Array:
    """sum_j (-1)^j binom(order + 1, j) max(s - j, 0)^power / power!, where s <= (order + 1) / 2."""
    total = jnp.zeros_like(s)
    for j in range(order // 2 + 1):
        factor = (-1) ** j * math.comb(order + 1, j) / math.factorial(power)
        total += factor * jnp.where(s > j, (s - j) ** power, 0)
    return total
