"""BERT and RoBERTa of Hugging Face's transformers."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from msajax.interop import blocks
from msajax.interop.case import Arrays, Case
from msajax.interop.replay import template
from msajax.interop.table import Rule, Table, copy
from msajax.interop.transformers import read_config, shown
from msajax.nn.bert import Bert, BertConfig
from msajax.nn.encoder import ACTIVATIONS

# Buffers that some versions of transformers save.
BUFFERS = r"(.*\.)?embeddings\.(position_ids|token_type_ids)"

_EMBEDDINGS = ("word_embeddings", "position_embeddings", "token_type_embeddings")
_LINEAR = (
    *(f"attention.self.{name}" for name in ("query", "key", "value")),
    *("attention.output.dense", "intermediate.dense", "output.dense"),
)
_NORMS = ("attention.output.LayerNorm", "output.LayerNorm")


def config(facts: Mapping[str, Any]) -> BertConfig:
    """Our config from config.json's.

    Raises:
      ValueError: a setting is missing or is not supported.
    """
    padding = None
    if "roberta" in facts.get("model_type", "bert"):
        padding = facts.get("pad_token_id", 1)
        if not isinstance(padding, int) or isinstance(padding, bool) or padding < 0:
            raise ValueError(
                f"the config has no usable value of pad_token_id ({shown(padding)})"
            )
    return read_config(
        BertConfig,
        facts,
        supported={
            "hidden_act": tuple(ACTIVATIONS),
            "position_embedding_type": ("absolute",),
            "is_decoder": (False,),
        },
        padding_position=padding,
    )


def rules(encoder: Bert, torch: str = "", ours: str = "") -> Iterator[Rule]:
    """Rules of a BertModel; prefixes end in a separator or are ''."""

    def names(of: tuple[str, ...], folder: str) -> Iterator[tuple[str, str]]:
        for name in of:
            path = f"{folder}.{name}"
            yield torch + path, ours + path.replace(".", "/")

    for source, leaf in names(_EMBEDDINGS, "embeddings"):
        yield copy(f"{source}.weight", f"params/{leaf}/embedding")
    yield from blocks.layer_norm(
        f"{torch}embeddings.LayerNorm", f"{ours}embeddings/LayerNorm"
    )
    for i in range(encoder.config.num_hidden_layers):
        for source, leaf in names(_LINEAR, f"encoder.layer.{i}"):
            yield from blocks.linear(source, leaf)
        for source, leaf in names(_NORMS, f"encoder.layer.{i}"):
            yield from blocks.layer_norm(source, leaf)
    if encoder.pooler:
        yield from blocks.linear(f"{torch}pooler.dense", f"{ours}pooler/dense")


def table(encoder: Bert) -> Table:
    """The names in a BertModel."""
    return Table(rules=tuple(rules(encoder)), ignored=(BUFFERS,))


def reproduce(case: Case) -> dict[str, Any]:
    """The case's results as our module gives them."""
    inputs = case.group("in/")
    encoder = Bert(config(case.settings))
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
