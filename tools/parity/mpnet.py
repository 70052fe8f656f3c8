"""MPNet of Hugging Face's transformers."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from msajax.encoders import body
from msajax.encoders.mpnet import MPNetConfig
from msajax.encoders.relative import buckets
from msajax.nn.pooling import mean_pool
from msajax.weights import template
from msajax.weights.mpnet import table
from tools.parity.case import Case


def reproduce(case: Case) -> dict[str, Any]:
    """The case's results as our module gives them."""
    inputs = case.group("in/")
    encoder = MPNetConfig.read(case.settings).encoder()
    ids, mask = inputs["input_ids"], inputs["attention_mask"] > 0
    variables = table(encoder).variables(
        case.group("param/"), template(encoder, ids, mask=mask, train=False)
    )
    apply: Callable[..., Any] = encoder.apply

    def positions(ids: np.ndarray) -> jax.Array:
        return body.positions(jnp.asarray(ids != 1), 1)

    def last(ids: np.ndarray, mask: np.ndarray) -> jax.Array:
        return apply(variables, ids, mask=mask, train=False).last

    encoded, state = apply(
        variables, ids, mask=mask, train=False, mutable=["intermediates"]
    )
    layers = state["intermediates"]["encoder"]["layer"]
    bias = variables["params"]["encoder"]["relative_attention_bias"]["embedding"]
    steps = np.arange(ids.shape[1])
    distances = steps[None] - steps[:, None]
    results = {
        **{f"out/hidden_states/{i}": x for i, x in enumerate(encoded.hidden)},
        **{
            f"out/attentions/{i}": layer["attention"]["attn"]["attention"][0]
            for i, layer in layers.items()
        },
        "out/pooler_output": encoded.pooled,
        "out/mean_pooled": mean_pool(encoded.last, jnp.asarray(mask)),
        "out/buckets": buckets(inputs["bucket_distances"]),
        "out/position_bias": np.moveaxis(np.asarray(bias)[buckets(distances)], 2, 0),
        "out/position_ids": positions(ids),
        "out/inner_pad/position_ids": positions(inputs["inner_pad/input_ids"]),
        "out/inner_pad/last_hidden_state": last(inputs["inner_pad/input_ids"], mask),
        "out/no_mask/last_hidden_state": last(ids, np.ones_like(mask)),
    }

    def loss_of(variables):
        encoded = apply(variables, ids, mask=mask, train=False)
        mean = mean_pool(encoded.last, jnp.asarray(mask))
        pairs = {"last": encoded.last, "pooler": encoded.pooled, "mean": mean}
        return sum(
            jnp.sum(x * inputs[f"cotangent_{name}"]) for name, x in pairs.items()
        )

    loss, gradients = jax.value_and_grad(loss_of)(variables)
    arrays = table(encoder).arrays(gradients)
    results |= {f"grad/{name}": value for name, value in arrays.items()}
    return {"loss/total": loss, **results}
