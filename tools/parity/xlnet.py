"""XLNet of Hugging Face's transformers."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from msajax.encoders.xlnet import XLNet, XLNetConfig
from msajax.weights import template
from msajax.weights.xlnet import table
from tools.parity.bert import arguments
from tools.parity.case import Arrays, Case


def reproduce(case: Case) -> dict[str, Any]:
    """The case's results as our module gives them, for each padding of the inputs."""
    variants = {
        name.removesuffix("input_ids"): case.group("in/" + name[: -len("input_ids")])
        for name in case.group("in/")
        if name.endswith("input_ids")
    }
    encoder = XLNet(XLNetConfig.read(case.settings))
    example = arguments(next(iter(variants.values())))
    variables = table(encoder).variables(
        case.group("param/"), template(encoder, **example)
    )
    apply: Callable[..., Any] = encoder.apply
    results: dict[str, Any] = {}
    for variant, inputs in variants.items():
        encoded = apply(variables, **arguments(inputs))
        results[f"out/{variant}last_hidden_state"] = encoded.last
        for i, x in enumerate(encoded.hidden):
            results[f"out/{variant}hidden_states/{i}"] = x
        bare = arguments(Arrays(input_ids=inputs["input_ids"]))
        name = f"out/{variant.removesuffix('/')}_no_mask_no_segments/last_hidden_state"
        results[name] = apply(variables, **bare).last
    if case.expects("loss/total"):
        cotangent = case.arrays["in/cotangent_last"]
        results |= _losses_and_gradients(encoder, variables, variants, cotangent)
    return results


def _losses_and_gradients(
    encoder: XLNet, variables: Any, variants: dict[str, Arrays], cotangent: Any
) -> dict[str, Any]:
    """Each variant's loss is the sum of its real outputs times the cotangent."""

    apply: Callable[..., Any] = encoder.apply

    def losses_of(variables):
        losses = {}
        for variant, inputs in variants.items():
            last = apply(variables, **arguments(inputs)).last
            real = inputs["attention_mask"][..., None] > 0
            losses[f"loss/{variant.removesuffix('/')}"] = jnp.sum(
                jnp.where(real, last * cotangent, 0)
            )
        return sum(losses.values()), losses

    (total, losses), gradients = jax.value_and_grad(losses_of, has_aux=True)(variables)
    arrays = table(encoder).arrays(gradients)
    return losses | {
        "loss/total": total,
        **{f"grad/{k}": v for k, v in arrays.items()},
    }
