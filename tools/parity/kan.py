"""KANLinear and KAN of Blealtan/efficient-kan, whose cases hold 'linear', 'linear_noscale' and 'kan'."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from msajax.models.iml_cmm.kan import KAN, KANLinear, regularization
from msajax.models.iml_cmm.splines import Grid, basis, fit
from msajax.weights import template
from msajax.weights.table import Rule, Table, reverse
from tools.parity.case import Case


def table(module: KANLinear | KAN) -> Table:
    """The reference's names; its buffers 'grid' are settings of ours."""
    if isinstance(module, KANLinear):
        names = {"": ""}
        rules = _layer("", "", scaled=module.scaled)
    else:
        names = {f"layers.{i}.": f"layer_{i}/" for i in range(len(module.widths))}
        rules = (
            rule
            for torch, ours in names.items()
            for rule in _layer(torch, ours, scaled=True)
        )
    constants = {f"{torch}grid": module.grid.knots for torch in names}
    return Table(rules=tuple(rules), constants=constants)


def _layer(torch: str, ours: str, *, scaled: bool) -> Iterator[Rule]:
    yield reverse(f"{torch}base_weight", f"params/{ours}base_kernel")
    yield reverse(f"{torch}spline_weight", f"params/{ours}spline_kernel")
    if scaled:
        yield reverse(f"{torch}spline_scaler", f"params/{ours}spline_scale")


def reproduce(case: Case) -> dict[str, Any]:
    """The case's results as our module gives them."""
    results: dict[str, Any] = {}
    if case.expects("param/linear."):
        results |= _linear(case)
    if case.expects("param/linear_noscale."):
        module, variables = _module(case, "linear_noscale", "x")
        results["out/linear_noscale"] = module.apply(variables, case.arrays["in/x"])
    if case.expects("param/kan."):
        results |= _stack(case)
    return results


def _linear(case: Case) -> dict[str, Any]:
    module, variables = _module(case, "linear", "x")
    x, grid = jnp.asarray(case.arrays["in/x"]), module.grid
    params = variables["params"]
    splines = basis(x, grid)
    results = {
        "out/linear": module.apply(variables, x),
        "out/b_splines": splines.reshape(-1, *splines.shape[-2:]),
        **_losses(case, module, variables, "linear", ""),
    }
    if module.scaled:
        scaled = params["spline_kernel"] * params["spline_scale"][None]
        results["out/scaled_spline_weight"] = scaled.T
    for name in case.group("in/curve_points_"):
        points, values = (
            jnp.asarray(case.arrays[f"in/curve_{kind}_{name}"])
            for kind in ("points", "values")
        )
        knots = jnp.asarray(case.arrays["param/linear.grid"])
        found = fit(points, values, knots, order=grid.order)
        results[f"out/curve2coeff_{name}"] = found.T
    return results


def _stack(case: Case) -> dict[str, Any]:
    module, variables = _module(case, "kan", "kan_x")
    x = case.arrays["in/kan_x"]
    output, state = module.apply(
        variables, x, capture_intermediates=True, mutable=["intermediates"]
    )
    (hidden,) = state["intermediates"]["layer_0"]["__call__"]
    losses = _losses(case, module, variables, "kan", "kan_")
    return {"out/kan": output, "out/kan_hidden": hidden, **losses}


def _losses(
    case: Case, module: KANLinear | KAN, variables: Any, name: str, prefix: str
) -> dict[str, Any]:
    """Regularisers, squared error, its gradient by the input, and that of the total by the parameters."""
    x, target = (case.arrays[f"in/{prefix}{kind}"] for kind in ("x", "target"))

    def error(variables, x):
        return jnp.mean(jnp.square(module.apply(variables, x) - target))

    def total(variables, x):
        return error(variables, x) + 0.01 * regularization(variables["params"])

    results = {f"grad_in/{prefix}x": jax.grad(error, argnums=1)(variables, x)}
    loss, gradients = jax.value_and_grad(total)(variables, x)
    for key in case.group(f"loss/{prefix}reg_"):
        activation, entropy = map(float, key.split("_"))
        results[f"loss/{prefix}reg_{key}"] = regularization(
            variables["params"], activation=activation, entropy=entropy
        )
    arrays = table(module).arrays(gradients)
    return {
        **results,
        f"loss/{prefix}mse": error(variables, x),
        f"loss/{prefix}total": loss,
        **{f"grad/{name}.{k}": array for k, array in arrays.items()},
    }


def _module(case: Case, name: str, x: str) -> tuple[Any, Any]:
    settings = case.setting(name)
    if same := settings.get("same as"):
        settings = {**case.setting(same), **settings}
    low, high = settings["grid_range"]
    grid = Grid(
        settings["grid_size"], settings.get("spline_order", 3), float(low), float(high)
    )
    if "layers_hidden" in settings:
        module = KAN(tuple(settings["layers_hidden"][1:]), grid)
    else:
        scaled = settings["enable_standalone_scale_spline"]
        module = KANLinear(settings["out_features"], grid, scaled=scaled)
    shapes = template(module, case.arrays[f"in/{x}"])
    return module, table(module).variables(case.group(f"param/{name}."), shapes)
