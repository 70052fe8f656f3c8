"""Kolmogorov-Arnold layers: every input and output are joined by a function of its own, a SiLU and a spline.

Liu et al., "KAN: Kolmogorov-Arnold Networks", 2024, in the form of
Blealtan/efficient-kan: the functions of all inputs are one product of matrices
with B-splines B_c of the inputs (section 2.2),

    y_o = sum_i [base_io silu(x_i) + scale_io sum_c spline_cio B_c(x_i)].

The grid is uniform, unless `update_grid` moved its knots. Beyond the extended one,
low - order * step to high + order * step, all splines are zero, so inputs should be
normalised.

The features of N inputs of width I, [N, (size + order + 1) I], are not kept for the
backward pass, which computes them again. On a CPU a block of rows is done at a time,
whose features stay in the cache: the layer then holds no array larger than its input
and kernel. Elsewhere all rows are one block.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from msajax.models.iml_cmm.splines import (
    Grid,
    cox_de_boor,
    fit,
    least_squares,
    slopes,
    splines,
)
from msajax.nn.linear import uniform

# Rows of a block on a CPU: with 9 features of 177 inputs 1.6 MB. 256 was the fastest
# of 58 to 7424 rows, 1.3 times as fast as all at once.
_ROWS = 256


class KANLinear(nn.Module):
    """A KAN layer on the last axis: [..., I] -> [..., features].

    A layer whose variables hold 'knots' in the collection 'grid', which `update_grid`
    puts there, takes these for its grid.

    Attributes:
      features: width O of the output.
      grid: grid of the splines.
      scaled: the splines of each input and output have a learned scale.
      noise: bound of the initial spline functions, times 2 G.
    """

    features: int
    grid: Grid = Grid()
    scaled: bool = True
    noise: float = 0.1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies the layer.

        Args:
          x: [..., I] float32 or bfloat16; the splines are computed in float32, the
            product in x's dtype.

        Returns:
          [..., features], of x's dtype.
        """
        dim = x.shape[-1]
        pair = (dim, self.features)
        base = self.param("base_kernel", uniform(dim), pair)
        shape = (self.grid.num_splines, *pair)
        spline = self.param("spline_kernel", self._near_zero, shape)
        if self.scaled:
            spline = spline * self.param("spline_scale", uniform(dim), pair)[None]
        kernel = jnp.concatenate([base[None], spline]).reshape(-1, self.features)
        rows = x.reshape(-1, dim)
        if self.has_variable("grid", "knots"):
            knots = self.get_variable("grid", "knots")
            y: Any = _any_product(rows, kernel, knots, self.grid.order)
        else:
            y = _product(rows, kernel, self.grid)
        return y.reshape(*x.shape[:-1], self.features)

    def _near_zero(self, key, shape, dtype=jnp.float32):
        """Splines through small random values at the inner knots."""
        grid = self.grid
        values = jax.random.uniform(key, (grid.size + 1, *shape[1:]), dtype, -0.5, 0.5)
        points = np.linspace(grid.low, grid.high, grid.size + 1, dtype=np.float32)
        # All inputs have the same knots: one problem, of which each pair is a column.
        columns = values.reshape(len(points), 1, -1) * (self.noise / grid.size)
        knots = jnp.asarray(grid.knots)[None]
        found = fit(jnp.asarray(points)[:, None], columns, knots, order=grid.order)
        return found.reshape(shape).astype(dtype)


class KAN(nn.Module):
    """A stack of KAN layers: [..., I] -> [..., widths[-1]].

    Attributes:
      widths: widths of the layers' outputs.
      grid: grid of the splines of all layers.
    """

    widths: tuple[int, ...]
    grid: Grid = Grid()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Applies the layers."""
        for i, width in enumerate(self.widths):
            x = KANLinear(width, self.grid, name=f"layer_{i}")(x)
        return x


def regularization(
    params: Any, *, activation: float = 1.0, entropy: float = 1.0
) -> jax.Array:
    """L1 norm and entropy of the spline functions of all KAN layers.

    Args:
      params: a tree with the parameters of any number of layers.
      activation: weight of the sum of l, the mean absolute coefficients of each
        input and output.
      entropy: weight of the entropy of l / sum(l) within a layer.

    Returns:
      A scalar float32.

    Source: `regularization_loss` of efficient-kan, which stands in for equations
    2.17 to 2.20 of the paper; the scale has no part in it.
    """
    total = jnp.zeros(())
    leaves: dict[Any, Any] = traverse_util.flatten_dict(params)
    for path, leaf in leaves.items():
        if path[-1] == "spline_kernel":
            size = jnp.mean(jnp.abs(leaf.astype(jnp.float32)), axis=0)
            norm = jnp.sum(size)
            p = size / jnp.where(norm > 0, norm, 1)
            log_p = jnp.log(jnp.where(p > 0, p, 1))
            total += activation * norm - entropy * jnp.sum(p * log_p)
    return total


def update_grid(
    layer: KANLinear,
    variables: Any,
    x: jax.Array,
    *,
    even: float = 0.02,
    margin: float = 0.01,
) -> dict[str, Any]:
    """Moves a layer's knots to where its inputs lie, and its splines with them.

    Args:
      layer: the layer.
      variables: its variables.
      x: [N, I] float32, inputs; only real steps.
      even: share of the uniform grid in the new one; the rest is quantiles.
      margin: of the uniform grid beyond the inputs, on both sides.

    Returns:
      The variables with knots [I, G + 2 k + 1] in the collection 'grid' and the
      coefficients that are nearest to the old functions on the inputs.

    Source: `update_grid` of efficient-kan; there the scale is fitted into the
    coefficients and then applied again.
    """
    grid, params = layer.grid, variables["params"]
    old = jnp.broadcast_to(jnp.asarray(grid.knots), (x.shape[1], len(grid.knots)))
    old = variables.get("grid", {}).get("knots", old)
    new = _knots_of(x, grid, even, margin)
    bases = (
        jnp.swapaxes(cox_de_boor(x, knots, order=grid.order), 0, 1)
        for knots in (new, old)
    )
    change = least_squares(*bases)  # [I, G + k, G + k]
    kernel = jnp.einsum("icd,dio->cio", change, params["spline_kernel"])
    params = {**params, "spline_kernel": kernel}
    return {**variables, "params": params, "grid": {"knots": new}}


def _knots_of(x: jax.Array, grid: Grid, even: float, margin: float) -> jax.Array:
    """[N, I] -> [I, G + 2 k + 1]."""
    x = jnp.sort(x.astype(jnp.float32), axis=0)
    quantiles = x[np.linspace(0, x.shape[0] - 1, grid.size + 1).astype(int)]
    low, step = x[:1] - margin, (x[-1:] - x[:1] + 2 * margin) / grid.size
    numbers = np.arange(grid.size + 1, dtype=np.float32)[:, None]
    inner = even * (low + step * numbers) + (1 - even) * quantiles
    beyond = step * np.arange(1, grid.order + 1, dtype=np.float32)[:, None]
    return jnp.concatenate([inner[:1] - beyond[::-1], inner, inner[-1:] + beyond]).T


# The product ---------------------------------------------------------------------


def _features(x: jax.Array, grid: Grid) -> jax.Array:
    """SiLU and splines, one after the other: [N, I] -> [N, (1 + G + k) I]."""
    parts = [jax.nn.silu(x.astype(jnp.float32)), *splines(x, grid)]
    return jnp.concatenate(parts, axis=1).astype(x.dtype)


def _pull_back(x: jax.Array, gradient: jax.Array, grid: Grid) -> jax.Array:
    """Gradient by x from that by the features."""
    by_base, *by_splines = jnp.split(
        gradient.astype(jnp.float32), grid.num_splines + 1, axis=1
    )
    x32 = x.astype(jnp.float32)
    sigmoid = jax.nn.sigmoid(x32)
    total = sigmoid * (1 + x32 * (1 - sigmoid)) * by_base
    # A sum written out: XLA's CPU code for a reduction is five times slower.
    for slope, by_spline in zip(slopes(x, grid), by_splines, strict=True):
        total += slope * by_spline
    return total.astype(x.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _product(x: jax.Array, kernel: jax.Array, grid: Grid) -> jax.Array:
    """[N, I], [(1 + G + k) I, O] -> [N, O]."""

    def block(x):
        return _features(x, grid) @ kernel

    blocks = _blocks(x)
    return jax.lax.map(block, blocks).reshape(-1, kernel.shape[1])[: x.shape[0]]


def _product_backward(grid, saved, gradient):
    x, kernel = saved

    def block(by_kernel, rows):
        x, gradient = rows
        by_features = gradient @ kernel.T
        by_kernel += jnp.einsum(
            "nf,no->fo",
            _features(x, grid),
            gradient,
            preferred_element_type=jnp.float32,
        )
        return by_kernel, _pull_back(x, by_features, grid)

    zeros = jnp.zeros(kernel.shape, jnp.float32)
    by_kernel, by_x = jax.lax.scan(block, zeros, (_blocks(x), _blocks(gradient)))
    return by_x.reshape(-1, x.shape[1])[: x.shape[0]], by_kernel.astype(kernel.dtype)


_product.defvjp(
    lambda x, kernel, grid: (_product(x, kernel, grid), (x, kernel)),
    _product_backward,
)


def _blocks(x: jax.Array) -> jax.Array:
    """[N, D] -> [blocks, rows, D]; rows of zeros fill up the last block."""
    rows = x.shape[0]
    if jax.default_backend() == "cpu":
        rows = min(rows, _ROWS)
    x = jnp.pad(x, ((0, -x.shape[0] % rows), (0, 0)))
    return x.reshape(-1, rows, x.shape[1])


@functools.partial(jax.checkpoint, static_argnums=(3,))
def _any_product(
    x: jax.Array, kernel: jax.Array, knots: jax.Array, order: int
) -> jax.Array:
    """`_product` of any knots [I, K], slower."""
    values = jnp.moveaxis(cox_de_boor(x, knots, order=order), -1, 1)
    base = jax.nn.silu(x.astype(jnp.float32))[:, None]
    features = jnp.concatenate([base, values], axis=1)
    return features.reshape(x.shape[0], -1).astype(x.dtype) @ kernel
