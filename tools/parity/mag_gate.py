"""The gate of WasifurRahman/BERT_multimodal_transformer."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from msajax.nn.gates import MAGGate, bounded
from msajax.weights import template
from msajax.weights.mag_gate import table
from tools.parity.case import Case


def reproduce(case: Case) -> dict[str, Any]:
    """The case's results as our module gives them."""
    names = ("text_embedding", "acoustic", "visual")
    inputs = [jnp.asarray(case.group("in/")[name]) for name in names]
    gate = MAGGate(beta=case.setting("beta_shift"))
    shapes = template(gate, *inputs, train=False)

    def variables(**changed):
        return table(gate).variables(case.group("param/") | changed, shapes)

    apply: Callable[..., Any] = gate.apply
    output, state = apply(variables(), *inputs, train=False, mutable=["intermediates"])
    (displacement,) = state["intermediates"]["displacement"]
    shift = bounded(displacement, inputs[0], beta=gate.beta)
    closed = {
        f"{name}.bias": jnp.full(inputs[0].shape[-1], -1000.0)
        for name in ("W_hv", "W_ha")
    }
    results = {
        "out/output": output,
        "out/h_m": displacement,
        "out/shift_alpha_times_h_m": shift,
        "out/before_layernorm": inputs[0] + shift,
        "out/closed_gates": apply(variables(**closed), *inputs, train=False),
    }
    if case.expects("loss/total"):
        results |= _loss_and_gradients(case, gate, variables(), names, inputs)
    return results


def _loss_and_gradients(
    case: Case,
    gate: MAGGate,
    variables: Any,
    names: tuple[str, ...],
    inputs: list[jax.Array],
) -> dict[str, Any]:
    """'loss/total' is sum(output * cotangent)."""

    apply: Callable[..., Any] = gate.apply

    def loss_of(variables, inputs):
        output = apply(variables, *inputs, train=False)
        return jnp.sum(output * case.arrays["in/cotangent"])

    loss, (gradients, of_inputs) = jax.value_and_grad(loss_of, argnums=(0, 1))(
        variables, inputs
    )
    return {
        "loss/total": loss,
        **{f"grad/{k}": v for k, v in table(gate).arrays(gradients).items()},
        **{f"grad_in/{k}": v for k, v in zip(names, of_inputs, strict=True)},
    }
