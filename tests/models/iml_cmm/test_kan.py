"""KAN: its first splines, its product and gradients, its regulariser and its grids."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from msajax.models.iml_cmm import kan
from msajax.models.iml_cmm.kan import KAN, KANLinear
from msajax.models.iml_cmm.splines import Grid, cox_de_boor, fit, slopes
from tests import random_bits
from tests.models.iml_cmm.test_splines import GRIDS, scipys

rng = np.random.default_rng(0)


def test_the_first_splines_go_through_small_noise():
    grid = Grid(6, 3, -2.0, 1.0)
    layer = KANLinear(7, grid, noise=0.3)
    made = jax.jit(layer.init)(jax.random.key(0), np.zeros((1, 5)))
    params = jax.device_get(made["params"])
    knots = np.linspace(-2, 1, 7)
    values = np.einsum("nc,cio->nio", scipys(knots, grid), params["spline_kernel"])
    bound = 0.3 / 6 / 2
    assert 0.9 * bound < np.abs(values).max() <= bound + 1e-6
    assert np.std(values) == pytest.approx(bound / 3**0.5, rel=0.1)
    # Of all splines through them, those of least norm: nothing in the null space.
    null = scipy.linalg.null_space(scipys(knots, grid))
    nothing = np.einsum("cz,cio->zio", null, params["spline_kernel"])
    np.testing.assert_allclose(nothing, 0, atol=1e-6)


@functools.cache
def ready(rows, grid=GRIDS[0], scaled=True):
    """(layer, variables that are no constants, inputs, cotangent)."""
    layer = KANLinear(4, grid, scaled=scaled)
    x = rng.normal(0, 1.5, (rows, 5)).astype("f")
    shapes = jax.eval_shape(layer.init, jax.random.key(0), x)
    variables = jax.tree.map(lambda s: rng.normal(size=s.shape).astype("f"), shapes)
    return layer, variables, x, rng.normal(size=(rows, 4)).astype("f")


def plain(variables, x, grid):
    """The formula of a layer, without tricks."""
    params = variables["params"]
    splines = (
        params["spline_kernel"] * params.get("spline_scale", jnp.ones((1, 1)))[None]
    )
    bases = cox_de_boor(x, jnp.tile(grid.knots, (x.shape[1], 1)), order=grid.order)
    return jax.nn.silu(x) @ params["base_kernel"] + jnp.einsum(
        "nic,cio->no", bases, splines
    )


# A part of a block, whole blocks, and blocks of which the last is filled up
@pytest.mark.parametrize(
    "rows,grid,scaled",
    [(3, GRIDS[0], True), (512, GRIDS[2], False), (300, GRIDS[3], True)],
)
def test_the_product_and_its_gradients(rows, grid, scaled):
    layer, variables, x, cotangent = ready(rows, grid, scaled)

    def value_and_gradients(run):
        def loss(variables, x):
            y = run(variables, x)
            return jnp.sum(jnp.sin(y) * cotangent), y

        return jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(variables, x)

    found, y = value_and_gradients(layer.apply)
    wanted, z = value_and_gradients(lambda v, x: plain(v, x, grid))
    np.testing.assert_allclose(y, z, atol=2e-5)
    for a, b in zip(*map(jax.tree.leaves, (found, wanted)), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5 * np.abs(b).max())


def test_order_one_has_the_slope_of_its_piece():
    grid = Grid(4, 1)
    found = np.stack(slopes(np.array([-0.9, 0.3]), grid), axis=-1)
    np.testing.assert_allclose(found, [[-2, 2, 0, 0, 0], [0, 0, -2, 2, 0]], atol=1e-6)
    layer = KANLinear(1, grid, scaled=False)
    x = np.array([[-0.9], [0.3], [5.0]], "f")
    params = {"base_kernel": np.zeros((1, 1), "f")}
    params["spline_kernel"] = np.array([1, 2, 4, 8, 16], "f").reshape(5, 1, 1)
    slope = jax.jit(jax.grad(lambda x: layer.apply({"params": params}, x).sum()))(x)
    np.testing.assert_allclose(slope[:, 0], [2, 8, 0], atol=1e-5)


def test_leading_dims_are_rows():
    layer, variables, x, _ = ready(12)
    y, apart, first = jax.jit(
        lambda v, x: [layer.apply(v, rows) for rows in (x, x.reshape(2, 3, 2, 5), x[0])]
    )(variables, x)
    np.testing.assert_allclose(apart, np.reshape(y, (2, 3, 2, 4)), atol=1e-6)
    np.testing.assert_allclose(first, np.asarray(y)[0], atol=1e-6)


def test_nothing_is_kept_for_the_backward_pass_but_input_and_kernel():
    layer, variables, x, _ = ready(600)
    _, pull_back = jax.eval_shape(functools.partial(jax.vjp, layer.apply), variables, x)
    largest = max(leaf.size for leaf in jax.tree.leaves(pull_back))
    assert largest == x.size  # features would be 9 times as large


def test_a_stack_is_its_layers():
    stack = KAN((6, 2), Grid(4, 2))
    x = rng.normal(size=(3, 5)).astype("f")
    found, variables = jax.jit(stack.init_with_output)(random_bits.key(0), x)

    @jax.jit
    def by_layers(params, h):
        for name, width in (("layer_0", 6), ("layer_1", 2)):
            h = KANLinear(width, Grid(4, 2)).apply({"params": params[name]}, h)
        return h

    np.testing.assert_allclose(found, by_layers(variables["params"], x), atol=1e-6)


def test_regularization_by_hand():
    splines = np.array([[[1.0, -2.0]], [[3.0, 0.0]]], "f")  # [C=2, I=1, O=2]
    params = {"a": {"spline_kernel": splines}, "b": {"base_kernel": splines[0]}}
    p = np.array([2 / 3, 1 / 3])
    norm, entropy = 3.0, -np.sum(p * np.log(p))
    for activation, weight in itertools.product((0.0, 0.5), (0.0, 2.0)):
        options = dict(activation=activation, entropy=weight)
        found = kan.regularization(params, **options)
        wanted = activation * norm + weight * entropy
        assert float(found) == pytest.approx(wanted, rel=1e-6)
    twice = {**params, "c": {"d": params["a"]}}
    assert float(kan.regularization(twice)) == pytest.approx(2 * (norm + entropy))
    zeros = {"spline_kernel": np.zeros((2, 1, 3), "f")}
    value, slope = jax.value_and_grad(kan.regularization)(zeros)
    assert value == 0
    assert np.isfinite(slope["spline_kernel"]).all()


def test_a_grid_follows_its_inputs_and_its_functions_stay():
    grid = Grid(5, 3, -4.0, 4.0)
    layer = KANLinear(2, grid)
    x = rng.normal(2.0, 0.3, (400, 3)).astype("f")
    variables, apply = jax.jit(layer.init)(random_bits.key(0), x), jax.jit(layer.apply)
    # Cubics are splines of any grid, so nothing may be lost.
    values = np.stack([x**3 - x, 2 - x**2], axis=-1)
    knots = np.tile(grid.knots, (3, 1))
    params = {
        **variables["params"],
        "spline_kernel": jax.jit(functools.partial(fit, order=3))(x, values, knots),
    }
    before = apply({"params": params}, x)
    update = jax.jit(functools.partial(kan.update_grid, layer, even=0.1))
    after = update({"params": params}, x)
    np.testing.assert_allclose(apply(after, x), before, atol=2e-3)
    knots = np.asarray(after["grid"]["knots"])
    assert knots.shape == (3, 12)
    assert (np.diff(knots) > 0).all()
    for column, own in zip(x.T, knots, strict=True):
        step = (np.ptp(column) + 0.02) / 5
        evenly = column.min() - 0.01 + step * np.arange(6)
        ordered = np.sort(column)
        quantiles = ordered[np.linspace(0, 399, 6).astype(int)]
        inner = 0.1 * evenly + 0.9 * quantiles
        np.testing.assert_allclose(own[3:9], inner, atol=1e-5)
    again = update(after, x)
    np.testing.assert_allclose(again["grid"]["knots"], knots, atol=1e-6)
    np.testing.assert_allclose(apply(again, x), before, atol=4e-3)


def test_a_layer_computes_on_the_knots_that_it_is_given():
    layer, variables, x, cotangent = ready(7)
    uniform = {**variables, "grid": {"knots": np.tile(Grid().knots, (5, 1))}}

    @jax.jit
    @functools.partial(jax.grad, argnums=(0, 1), has_aux=True)
    def run(variables, x):
        y = layer.apply(variables, x)
        return jnp.sum(y * cotangent), y

    wanted, found = run(variables, x), run(uniform, x)
    del found[0][0]["grid"]
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), found, wanted
    )
    moved = {**variables, "grid": {"knots": np.tile(Grid().knots + 0.1, (5, 1))}}
    assert np.abs(np.asarray(run(moved, x)[1]) - wanted[1]).max() > 0.1
