"""T5 of Hugging Face's transformers: states, attentions, loss, and greedy decoding."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from msajax.encoders import t5, t5_writer
from msajax.encoders.relative import buckets
from msajax.encoders.t5 import T5Config
from msajax.losses import token_cross_entropy
from msajax.weights import template
from msajax.weights.t5 import table
from tools.parity.case import Case
from tools.parity.replay import COMPILER


def reproduce(case: Case) -> dict[str, Any]:
    """The case's results as our module gives them."""
    inputs = case.group("in/")
    config = T5Config.read(case.settings)
    writer = t5_writer.T5Writer(config)
    ids, labels = (jnp.asarray(inputs[name]) for name in ("input_ids", "labels"))
    mask = jnp.asarray(inputs["attention_mask"] > 0)
    variables = table(writer).variables(
        case.group("param/"), template(writer, ids, labels, mask=mask, train=False)
    )
    apply: Callable[..., Any] = writer.apply

    def compute(variables):
        def loss_of(variables):
            given = dict(mask=mask, train=False, mutable=["intermediates"])
            hidden, seen = apply(variables, ids, **given, method="encode")
            decoded, seen_after = apply(
                variables, labels, source=hidden[-1], **given, method="decode"
            )
            values = token_cross_entropy(decoded.logits, labels)
            return jnp.sum(values) / jnp.sum(labels >= 0), (
                *(hidden, decoded),
                seen["intermediates"]["encoder"]["layer"]["0"],
                seen_after["intermediates"]["decoder"]["layer"]["0"],
            )

        return jax.value_and_grad(loss_of, has_aux=True)(variables)

    (loss, found), gradients = jax.jit(compute, compiler_options=COMPILER)(variables)
    hidden, decoded, of_encoder, of_decoder = found
    arrays = table(writer).arrays(gradients)
    return {
        "loss/total": loss,
        **{f"grad/{name}": value for name, value in arrays.items()},
        **{f"out/encoder_hidden_states/{i}": x for i, x in enumerate(hidden)},
        **{f"out/decoder_hidden_states/{i}": x for i, x in enumerate(decoded.hidden)},
        "out/logits": decoded.logits,
        "out/encoder_attention/0": of_encoder["attention"]["attention"][0],
        "out/decoder_attention/0": of_decoder["attention"]["attention"][0],
        "out/cross_attention/0": of_decoder["cross_attention"]["attention"][0],
        "out/decoder_input_ids": t5_writer.shift(labels, config),
        **_positions(case, variables["params"]),
        "out/generated": _written(case, writer, variables, ids, mask),
    }


def _positions(case: Case, params: Any) -> dict[str, Any]:
    """Buckets of distances, and the biases of the two tables."""
    distances = case.arrays["in/bucket_distances"]
    config = T5Config.read(case.settings)
    found = {}
    for name, causal in (("bidirectional", False), ("causal", True)):
        found[f"{name}_32_128"] = buckets(distances, causal=causal)
        found[name] = buckets(
            distances,
            count=config.relative_attention_num_buckets,
            farthest=config.relative_attention_max_distance,
            causal=causal,
        )
    results: dict[str, Any] = {f"out/buckets/{k}": v for k, v in found.items()}
    for side, causal in (("encoder", False), ("decoder", True)):
        name = f"out/{side}_position_bias"
        rows = t5.rows(config, case.arrays[name].shape[-1], causal=causal)
        bias = jnp.asarray(params[side]["relative_attention_bias"]["embedding"])
        results[name] = t5.by_head(bias[rows])[0]
    return results


def _written(case: Case, writer: Any, variables: Any, ids: Any, mask: Any) -> Any:
    """The tokens that the reference generates for the first texts, with the start's."""
    rows = len(case.arrays["out/generated"])
    length = case.setting("max_new_tokens")

    def write(variables, ids, mask):
        source = writer.apply(variables, ids, mask=mask, train=False, method="encode")
        return writer.apply(
            variables, source[-1], mask=mask, length=length, method="write"
        )

    run = jax.jit(write, compiler_options=COMPILER)
    tokens = run(variables, ids[:rows], mask[:rows])
    start = jnp.full((rows, 1), writer.config.decoder_start_token_id)
    return jnp.concatenate([start, tokens], axis=1)
