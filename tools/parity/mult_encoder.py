"""The TransformerEncoder of yaohungt/Multimodal-Transformer."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from msajax.nn.positions import position_vectors, sinusoid
from msajax.nn.transformer import CrossmodalEncoder
from msajax.weights import blocks, template
from msajax.weights.table import Table
from tools.parity.case import Case

# Which sequences attend to which; None to themselves.
_RUNS = {
    "cross": ("query", "key"),
    "cross_swapped": ("key", "query"),
    "self": ("query", None),
}


def table(encoder: CrossmodalEncoder) -> Table:
    """The reference's names."""
    return Table(
        rules=tuple(
            blocks.crossmodal_encoder(
                "", "", layers=encoder.layers, heads=encoder.heads
            )
        ),
        ignored=(blocks.ENCODER_BUFFERS,),
    )


def reproduce(case: Case) -> dict[str, Any]:
    """The case's results as our module gives them; its arrays have time first, [L, B, D]."""
    encoder = _encoder(case, causal=True)
    x = jnp.ones((1, 1, case.arrays["param/layer_norm.weight"].size))
    variables = table(encoder).variables(
        case.group("param/"), template(encoder, x, mask=_steps(x), train=False)
    )
    results = _positions(case)
    folders = {name.rpartition("/")[0] for name in case.group("in/")} - {""}
    for folder, kind, suffix in itertools.product(folders, _RUNS, ("mask", "nomask")):
        if case.expects(name := f"out/{folder}/{kind}_{suffix}"):
            encoder = _encoder(case, causal=suffix == "mask")
            query, key = _RUNS[kind]
            source = _input(case, f"{folder}/{key}") if key else None
            encoded = _encode(
                encoder, variables, _input(case, f"{folder}/{query}"), source
            )
            results[name] = jnp.swapaxes(encoded, 0, 1)
    if case.expects("loss/total"):
        results |= _loss_and_gradients(case, variables)
    return results


def _positions(case: Case) -> dict[str, Any]:
    """Position vectors of the inputs, and tables whose row 0 is padding's."""
    results: dict[str, Any] = {}
    for name in case.group("in/"):
        folder, _, kind = name.rpartition("/")
        if folder:
            vectors = position_vectors(_input(case, name), fairseq_zero_pos=True)
            results[f"out/{folder}/position_of_{kind}"] = vectors
    for name, array in case.group("out/position_table").items():
        length, dim = array.shape
        rows = np.concatenate([np.zeros((1, dim)), sinusoid(length - 1, dim)])
        results[f"out/position_table{name}"] = rows
    return results


def _loss_and_gradients(case: Case, variables: Any) -> dict[str, Any]:
    """'loss/total' is sum(masked cross output * cotangent) on the inputs named 'quirk'."""
    encoder = _encoder(case, causal=True)
    cotangent = _input(case, "cotangent")

    def loss_of(variables, query, key):
        return jnp.sum(_encode(encoder, variables, query, key) * cotangent)

    loss, (gradients, query, key) = jax.value_and_grad(loss_of, argnums=(0, 1, 2))(
        variables, _input(case, "quirk/query"), _input(case, "quirk/key")
    )
    return {
        "loss/total": loss,
        "grad_in/quirk/query": jnp.swapaxes(query, 0, 1),
        "grad_in/quirk/key": jnp.swapaxes(key, 0, 1),
        **{f"grad/{k}": v for k, v in table(encoder).arrays(gradients).items()},
    }


def _encoder(case: Case, *, causal: bool) -> CrossmodalEncoder:
    hidden, dim = case.arrays["param/layers.0.fc1.weight"].shape
    return CrossmodalEncoder(
        heads=case.setting("num_heads"),
        layers=case.setting("layers"),
        expansion=hidden // dim,
        causal=causal,
        position_embedding=case.setting("position_embedding"),
        fairseq_zero_pos=True,
    )


def _input(case: Case, name: str) -> jax.Array:
    """An input with the batch first."""
    return jnp.swapaxes(case.arrays[f"in/{name}"], 0, 1)


def _encode(
    encoder: CrossmodalEncoder, variables: Any, x: jax.Array, source: jax.Array | None
) -> jax.Array:
    return jax.jit(encoder.apply, static_argnames="train")(
        variables,
        x,
        source,
        mask=_steps(x),
        source_mask=None if source is None else _steps(source),
        train=False,
    )


def _steps(x: jax.Array) -> jax.Array:
    return jnp.ones(x.shape[:2], bool)
