"""DeBERTa-v2 and v3 of Hugging Face's transformers."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from msajax.encoders.deberta import Deberta, DebertaConfig, signed_buckets
from msajax.encoders.layers import layer_norm
from msajax.weights import template
from msajax.weights.deberta import table
from tools.parity.case import Arrays, Case
from tools.parity.replay import COMPILER


def reproduce(case: Case) -> dict[str, Any]:
    """The case's results as our module gives them."""
    inputs = case.group("in/")
    # "tanh (variant conv)": the variant is no part of the setting.
    activation = case.setting("conv_act").split(" (")[0]
    config = DebertaConfig.read(
        case.settings | dict(conv_act=activation, conv_kernel_size=0)
    )
    steps = np.arange(inputs["input_ids"].shape[1])
    far = inputs["bucket_distances"]
    count, longest = config.position_buckets, config.farthest
    results: dict[str, Any] = {
        "out/relative_position": config.rows(steps[:, None] - steps[None])
        - config.span,
        "out/buckets/this": signed_buckets(far, count, longest),
        "out/buckets/v3": signed_buckets(far, 256, 512),
    }
    for variant, kernel in case.setting("conv_kernel_size").items():
        found = dataclasses.replace(config, conv_kernel_size=kernel)
        weights = case.group("param/")
        weights = {k: v for k, v in weights.items() if kernel or ".conv." not in k}
        results |= _results(Deberta(found, pooler=False), weights, inputs, variant)
    return results


def _results(
    encoder: Deberta, weights: dict[str, np.ndarray], inputs: Arrays, variant: str
) -> dict[str, Any]:
    """Outputs, the loss and gradients of one network; the loss is that of given cotangents."""
    ids, mask = inputs["input_ids"], inputs["attention_mask"] > 0
    variables = table(encoder).variables(
        weights, template(encoder, ids, mask=mask, train=False)
    )
    apply: Callable[..., Any] = encoder.apply
    collections = dict(mutable=["intermediates"])

    def loss_of(variables):
        encoded, state = apply(variables, ids, mask=mask, train=False, **collections)
        loss = jnp.sum(encoded.last * inputs["cotangent_last"])
        return loss, (encoded.hidden, state["intermediates"]["encoder"]["layer"])

    run = jax.value_and_grad(loss_of, has_aux=True)
    run = jax.jit(run, compiler_options=COMPILER)
    (loss, (hidden, layers)), gradients = run(variables)
    everything = apply(variables, ids, mask=np.ones_like(mask), train=False)
    own = variables["params"]["encoder"]
    epsilon = encoder.config.layer_norm_eps
    norm: Callable[..., Any] = layer_norm(epsilon, None, "LayerNorm").apply
    rows = norm({"params": own["LayerNorm"]}, own["rel_embeddings"]["embedding"])
    return {
        **{f"out/{variant}/hidden_states/{i}": x for i, x in enumerate(hidden)},
        **{
            f"out/{variant}/attentions/{i}": layer["attention"]["self"]["attention"][0]
            for i, layer in layers.items()
        },
        f"out/{variant}_no_mask/last_hidden_state": everything.last,
        "out/rel_embeddings_normed": rows,
        f"loss/{variant}/total": loss,
        **{
            f"grad/{variant}/{name}": value
            for name, value in table(encoder).arrays(gradients).items()
        },
    }
