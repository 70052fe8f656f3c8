"""B-splines against scipy's."""

import functools

import jax
import numpy as np
import pytest
import scipy.interpolate

from msajax.models.iml_cmm.splines import Grid, basis, cox_de_boor, fit

GRIDS = [Grid(), Grid(1, 1), Grid(8, 2, -3.0, 1.0), Grid(3, 5, 0.0, 7.0), Grid(20, 4)]
rng = np.random.default_rng(0)
bases = jax.jit(cox_de_boor, static_argnames="order")


def line(grid):
    """Points of the whole line, knots and what lies beyond them among them."""
    ends = grid.knots[0] - 3 * grid.step, grid.knots[-1] + 3 * grid.step
    far = [-np.inf, -1e30, -50.0, 50.0, 1e30, np.inf]
    return np.concatenate([np.linspace(*ends, 4001), grid.knots, far]).astype("f")


def scipys(x, grid):
    """[n, G + k], in float64 on unrounded knots; zeros beyond them."""
    k = grid.order
    knots = grid.low + grid.step * np.arange(-k, grid.size + k + 1)
    elements = (
        scipy.interpolate.BSpline.basis_element(knots[c : c + k + 2], extrapolate=False)
        for c in range(grid.size + k)
    )
    columns = [np.nan_to_num(element(np.float64(x))) for element in elements]
    return np.stack(columns, axis=1)


@pytest.mark.parametrize("grid", GRIDS)
def test_splines_are_scipys_over_the_whole_line(grid):
    x = line(grid)
    wanted = scipys(x, grid)
    found = np.asarray(jax.jit(basis, static_argnums=1)(x, grid))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6)
    near = np.abs(x) < 100
    recursive = bases(x[near, None], grid.knots[None], order=grid.order)
    np.testing.assert_allclose(
        np.asarray(recursive)[:, 0], wanted[near], rtol=0, atol=3e-6
    )
    outside = (x < grid.knots[0]) | (x >= grid.knots[-1])
    assert outside.sum() > 100
    assert (found[outside] == 0).all()
    inside = (x >= grid.low) & (x <= grid.high)
    np.testing.assert_allclose(found[inside].sum(1), 1, atol=2e-6)


def test_golden_values():
    found = basis(np.array([0.0, -1.0, -0.5]), Grid())
    wanted = [
        [0, 0, 1 / 48, 23 / 48, 23 / 48, 1 / 48, 0, 0],
        [1 / 6, 2 / 3, 1 / 6, 0, 0, 0, 0, 0],
        [0, 0.0703125, 0.61197917, 0.31510417, 0.00260417, 0, 0, 0],
    ]
    np.testing.assert_allclose(found, wanted, atol=3e-7)


def test_fit_goes_through_points_or_near_them():
    knots = np.tile(Grid().knots, (2, 1))
    few, many = (np.linspace([-1, -0.9], [0.9, 1], n).astype("f") for n in (6, 50))
    values = rng.normal(size=(6, 2, 3)).astype("f")
    go_through = jax.jit(functools.partial(fit, order=3))
    coefficients = go_through(few, values, knots)
    splines = bases(few, knots, order=3)
    through = np.einsum("nic,cio->nio", splines, coefficients)
    np.testing.assert_allclose(through, values, atol=1e-4)
    cubic = (many**3 - 2 * many)[..., None]
    splines = bases(many, knots, order=3)
    found = np.einsum("nic,cio->nio", splines, go_through(many, cubic, knots))
    np.testing.assert_allclose(found, cubic, atol=1e-4)


@pytest.mark.parametrize("wrong", [dict(size=0), dict(order=0), dict(low=1.0)])
def test_what_is_no_grid(wrong):
    with pytest.raises(ValueError, match="size >= 1, order >= 1 and low < high"):
        Grid(**wrong)
