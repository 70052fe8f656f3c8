"""BERT and RoBERTa of Hugging Face's transformers."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from msajax.encoders.bert import Bert, BertConfig
from msajax.weights import template
from msajax.weights.bert import table
from tools.parity.case import Arrays, Case


def reproduce(case: Case) -> dict[str, Any]:
    """The case's results as our module gives them."""
    inputs = case.group("in/")
    encoder = Bert(BertConfig.read(case.settings))
    variables = table(encoder).variables(
        case.group("param/"), template(encoder, **arguments(inputs))
    )
    results = _forward(encoder, variables, arguments(inputs), "")
    if case.expects("out/no_mask_no_segments/"):
        bare = arguments(Arrays(input_ids=inputs["input_ids"]))
        results |= _forward(encoder, variables, bare, "no_mask_no_segments/")
    if case.expects("loss/total"):
        results |= _loss_and_gradients(encoder, variables, inputs)
    return results


def arguments(inputs: Arrays) -> dict[str, Any]:
    """What an encoder of ours is called with, from the names that transformers has."""
    ids = jnp.asarray(inputs["input_ids"])
    mask = inputs.get("attention_mask")
    return {
        "ids": ids,
        "mask": jnp.ones(ids.shape, bool) if mask is None else jnp.asarray(mask > 0),
        "segments": inputs.get("token_type_ids"),
        "train": False,
    }


def _forward(
    encoder: Bert, variables: Any, arguments: dict[str, Any], variant: str
) -> dict[str, Any]:
    apply: Callable[..., Any] = encoder.apply
    encoded, state = apply(variables, **arguments, mutable=["intermediates"])
    layers = state["intermediates"]["encoder"]["layer"]
    return {
        f"out/{variant}last_hidden_state": encoded.last,
        f"out/{variant}pooler_output": encoded.pooled,
        **{f"out/{variant}hidden_states/{i}": x for i, x in enumerate(encoded.hidden)},
        **{
            f"out/{variant}attentions/{i}": layer["attention"]["self"]["attention"][0]
            for i, layer in layers.items()
        },
    }


def _loss_and_gradients(
    encoder: Bert, variables: Any, inputs: Arrays
) -> dict[str, Any]:
    """'loss/total' is the sum of the outputs times given cotangents."""

    apply: Callable[..., Any] = encoder.apply

    def loss_of(variables):
        encoded = apply(variables, **arguments(inputs))
        last = jnp.sum(encoded.last * inputs["cotangent_last"])
        return last + jnp.sum(encoded.pooled * inputs["cotangent_pooler"])

    loss, gradients = jax.value_and_grad(loss_of)(variables)
    arrays = table(encoder).arrays(gradients)
    return {"loss/total": loss, **{f"grad/{k}": v for k, v in arrays.items()}}
