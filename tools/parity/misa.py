"""MISA of thuiar/MMSA."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from msajax.encoders.bert import Bert, BertConfig
from msajax.models.base import Batch
from msajax.models.misa import MISA, ORDER
from msajax.weights import reference_form, template
from msajax.weights.misa import table
from tools.parity.case import Case
from tools.parity.replay import padded_batch, run, spec_of


def reproduce(case: Case) -> dict[str, Any]:
    """The case's results as our module gives them."""
    batch = _batch(case)
    model = _model(case, batch)
    rules = table(model)
    variables = rules.variables(
        case.group("param/"), template(model, batch, train=False)
    )
    result = run(model, variables, batch, train=True, capture=Bert)
    found = result.collections["intermediates"]
    (out,), (encoded,) = found["__call__"], found["encoder"]["__call__"]
    gradients = rules.arrays({"params": result.gradients})
    return {
        "out/M": result.features["M"],
        "out/bert_last_hidden": encoded.last,
        **{f"out/utterance_{n}": out[m] for m, n in _NAMES.items()},
        **_representations(out),
        **_discriminated(case, out),
        "out/fusion_transformer": jnp.swapaxes(out["fused"], 0, 1),
        "loss/cls": result.terms["task"],
        "loss/diff": result.terms["difference"],
        "loss/cmd": result.terms["similarity"],
        "loss/recon": result.terms["reconstruction"],
        "loss/total": result.loss,
        **{f"grad/{name}": array for name, array in gradients.items()},
    }


_NAMES = {"text": "text", "vision": "video", "audio": "audio"}


def _representations(out: dict[str, Any]) -> dict[str, Any]:
    """By the names of MMSA's attributes."""
    named = {
        "{}_orig": out["projected"],
        "private_{}": out["private"],
        "shared_{}": out["shared"],
        "{}": out["private"] + out["shared"],
        "{}_recon": out["decoded"],
    }
    return {
        f"out/utt_{name.format(m[0])}": array[:, i]
        for name, array in named.items()
        for i, m in enumerate(ORDER)
    }


def _discriminated(case: Case, out: dict[str, Any]) -> dict[str, Any]:
    """What MMSA's discriminator says, which nothing reads."""
    weight, bias = (
        case.arrays[f"param/sp_discriminator.sp_discriminator_layer_1.{name}"]
        for name in ("weight", "bias")
    )
    inputs = {f"p_{m[0]}": out["private"][:, i] for i, m in enumerate(ORDER)}
    inputs["s"] = jnp.mean(out["shared"], axis=1)
    return {
        f"out/shared_or_private_{name}": x @ weight.T + bias[None]
        for name, x in inputs.items()
    }


def _batch(case: Case) -> Batch:
    """The inputs; of audio and vision MMSA reads as many steps as the text has."""
    inputs = case.group("in/")
    ids, mask, segments = np.moveaxis(inputs["text_bert"], 1, 0).astype(np.int32)
    text = np.zeros((*ids.shape, 1), np.float32)  # no features: only its length counts
    batch = padded_batch(text, inputs["audio"], inputs["vision"], inputs["labels"])
    pieces = dict(text_ids=ids, text_type=segments, text_mask=mask > 0)
    return batch | {name: jnp.asarray(array) for name, array in pieces.items()}


def _model(case: Case, batch: Batch) -> MISA:
    outputs = len(case.arrays["param/fusion.fusion_layer_3.bias"])
    return MISA(
        spec_of(batch, outputs),
        encoder=BertConfig.read(case.setting("bert")),
        dim=case.setting("hidden_size"),
        cell=case.setting("rnncell"),
        hidden=len(case.arrays["param/transformer_encoder.layers.0.linear1.bias"]),
        fusion_dropout=0.0,
        dropout=0.0,
        similarity=case.setting("sim_weight"),
        difference=case.setting("diff_weight"),
        reconstruction=case.setting("recon_weight"),
        **reference_form("misa"),
    )
