"""wav2vec 2.0, HuBERT, data2vec-audio and WavLM of Hugging Face's transformers."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from msajax.encoders import wave_front
from msajax.encoders.wav2vec2 import Wav2Vec2Config
from msajax.weights import template
from msajax.weights.table import Table
from msajax.weights.wav2vec2 import table
from tools.parity.case import Arrays, Case
from tools.parity.replay import COMPILER

# Modules whose outputs the cases hold.
_SEEN = ("feature_extractor", "feature_projection", "pos_conv_embed")


# By the names of the cases: model_type in config.json.
_TYPES = {
    **{name: name for name in ("wav2vec2", "hubert", "wavlm")},
    "data2vec_audio": "data2vec-audio",
}


def reproduce(case: Case) -> dict[str, Any]:
    """The case's results as our module gives them."""
    return variants(case, Wav2Vec2Config.read, table)


def variants(
    case: Case, read: Callable[..., Any], table: Callable[[Any], Table]
) -> dict[str, Any]:
    """The results of each variant of a case; one that is called main has no prefix.

    Args:
      case: of a voice encoder.
      read: of the config.
      table: of the encoder's names.
    """
    inputs, results = case.group("in/"), {}
    for variant, settings in case.setting("variants").items():
        prefix = "" if variant == "main" else variant
        facts = {**case.settings, **settings, "model_type": _TYPES[case.model]}
        encoder = read(facts, do_normalize=False).encoder(padded=True)
        params = case.group(f"param/{prefix}.".replace("/.", "/"))
        found = _results(encoder, table(encoder), params, inputs)
        for name, array in found.items():
            kind, rest = name.split("/", 1)
            results["/".join(part for part in (kind, prefix, rest) if part)] = array
        lengths = encoder.config.frames(inputs["lengths"])
    if "raw" in inputs:
        mask = jnp.asarray(inputs["attention_mask"] > 0)
        results["out/normalized"] = wave_front.normalize(
            jnp.asarray(inputs["raw"]), mask
        )
    return {"out/frame_lengths": lengths, **results}


def _results(
    encoder: nn.Module, table: Table, params: Arrays, inputs: Arrays
) -> dict[str, Any]:
    waves, mask = inputs["input_values"], inputs["attention_mask"] > 0
    variables = table.variables(
        params, template(encoder, waves, mask=mask, train=False)
    )
    apply: Callable[..., Any] = encoder.apply

    def run(variables, waves, mask):
        encoded, state = apply(
            *(variables, waves),
            mask=mask,
            train=False,
            mutable=["intermediates"],
            capture_intermediates=lambda module, _: module.name in _SEEN,
        )
        return encoded, state["intermediates"]

    def loss_of(variables, waves, mask):
        encoded, seen = run(variables, waves, mask)
        return jnp.sum(encoded.last * inputs["cotangent_last"]), (encoded, seen)

    differentiate = jax.value_and_grad(loss_of, argnums=(0, 1), has_aux=True)
    compute = jax.jit(differentiate, compiler_options=COMPILER)
    (_, (encoded, seen)), (gradients, of_waves) = compute(variables, waves, mask)
    (_, (unmasked, _)), _ = compute(variables, waves, np.ones_like(mask))
    alone = waves[1:, : inputs["lengths"][1]]
    forward = jax.jit(run, compiler_options=COMPILER)
    lone, _ = forward(variables, alone, np.ones(alone.shape, bool))
    features, projected, positions = (
        tree["__call__"][0]
        for tree in (*(seen[name] for name in _SEEN[:2]), seen["encoder"][_SEEN[2]])
    )
    # In float64: the terms cancel to a small part of their sizes.
    terms = np.asarray(encoded.last, np.float64) * inputs["cotangent_last"]
    arrays = table.arrays(gradients)
    return {
        "out/feature_extractor": jnp.swapaxes(features, 1, 2),
        "out/feature_projection": projected,
        "out/pos_conv": positions,
        "out/frame_mask": encoded.mask,
        "out/attentions/0": seen["encoder"]["layers"]["0"]["attention"]["attention"][0],
        **{f"out/hidden_states/{i}": x for i, x in enumerate(encoded.hidden)},
        "out/no_mask/last_hidden_state": unmasked.last,
        "out/alone/last_hidden_state": lone.last,
        "loss/total": np.sum(terms),
        **{f"grad/{name}": value for name, value in arrays.items()},
        "grad_in/input_values": of_waves,
    }
