"""XLNet of Hugging Face's transformers."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from msajax.interop import blocks
from msajax.interop.bert import arguments
from msajax.interop.case import Arrays, Case
from msajax.interop.replay import template
from msajax.interop.table import Rule, Table, copy
from msajax.interop.transformers import read_config, shown
from msajax.nn.encoder import ACTIVATIONS
from msajax.nn.xlnet import XLNet, XLNetConfig

# The vector of masked words, which only pretraining's second stream reads.
UNUSED = r"(.*\.)?mask_emb"

_ATTENTION = (*"qkvor", "r_r_bias", "r_s_bias", "r_w_bias", "seg_embed")


def config(facts: Mapping[str, Any]) -> XLNetConfig:
    """Our config from config.json's.

    Raises:
      ValueError: a setting is missing or is not supported.
    """
    found = read_config(
        XLNetConfig,
        facts,
        supported={
            "ff_activation": tuple(ACTIVATIONS),
            "attn_type": ("bi",),
            "bi_data": (False,),
            "clamp_len": (-1, 0),
        },
    )
    width = found.d_model // found.n_head
    if facts.get("d_head", width) != width:
        raise ValueError(
            f"the config says d_head={shown(facts['d_head'])}, but our encoder has only "
            f"d_model / n_head = {width}"
        )
    return found


def rules(encoder: XLNet, torch: str = "", ours: str = "") -> Iterator[Rule]:
    """Rules of an XLNetModel; prefixes end in a separator or are ''."""
    yield copy(
        f"{torch}word_embedding.weight", f"params/{ours}word_embedding/embedding"
    )
    for i in range(encoder.config.n_layer):
        source, leaf = f"{torch}layer.{i}", f"{ours}layer/{i}"
        for name in _ATTENTION:
            yield copy(f"{source}.rel_attn.{name}", f"params/{leaf}/rel_attn/{name}")
        for block in ("rel_attn", "ff"):
            yield from blocks.layer_norm(
                f"{source}.{block}.layer_norm", f"{leaf}/{block}/layer_norm"
            )
        for name in ("layer_1", "layer_2"):
            yield from blocks.linear(f"{source}.ff.{name}", f"{leaf}/ff/{name}")


def table(encoder: XLNet) -> Table:
    """The names in an XLNetModel."""
    return Table(rules=tuple(rules(encoder)), ignored=(UNUSED,))


def reproduce(case: Case) -> dict[str, Any]:
    """The case's results as our module gives them, for each padding of the inputs."""
    variants = {
        name.removesuffix("input_ids"): case.group("in/" + name[: -len("input_ids")])
        for name in case.group("in/")
        if name.endswith("input_ids")
    }
    encoder = XLNet(config(case.settings))
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
