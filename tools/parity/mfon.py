"""MFON of 123sprouting/MFON, whose cases hold three networks: 'main' and two for pretraining."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from msajax.encoders.bert import BertConfig
from msajax.models.base import Batch
from msajax.models.mfon import MFON
from msajax.nn.transformer import CrossmodalEncoder
from msajax.weights import reference_form, template
from msajax.weights.mfon import _TAUGHT, table
from tools.parity.case import Case
from tools.parity.replay import COMPILER, padded_batch, spec_of


def reproduce(case: Case) -> dict[str, Any]:
    """The case's results as our module gives them."""
    results: dict[str, Any] = {}
    if case.expects("param/main."):
        results |= _main(case)
    for modality in _TAUGHT:
        if case.expects(f"param/{modality}_pretrain."):
            results |= _pretraining(case, modality)
    return results


class _Run(NamedTuple):
    """One pass without dropout.

    Attributes:
      outputs: of the model.
      loss, terms: as `MFON.loss` returns them.
      captured: outputs of the encoder and of `features`.
      gradients: of the loss; None if not asked for.
    """

    outputs: dict[str, jax.Array]
    loss: jax.Array
    terms: dict[str, jax.Array]
    captured: Any
    gradients: Any


def _run(
    model: MFON, variables: Any, batch: Batch, *, differentiate: bool = True
) -> _Run:
    def captured(module: nn.Module, method: str) -> bool:
        whole = module.name is None and method in ("__call__", "features")
        return whole or (module.name == "encoder" and method == "__call__")

    def loss_of(params):
        (loss, terms), state = model.apply(
            {"params": params},
            batch,
            train=True,
            progress={},
            method="loss",
            mutable=["intermediates"],
            capture_intermediates=captured,
        )
        return loss, (terms, state["intermediates"])

    def compute(params):
        if differentiate:
            return jax.value_and_grad(loss_of, has_aux=True)(params)
        return loss_of(params), None

    (loss, (terms, found)), gradients = jax.jit(compute, compiler_options=COMPILER)(
        variables["params"]
    )
    return _Run(found["__call__"][0], loss, terms, found, {"params": gradients})


def _main(case: Case) -> dict[str, Any]:
    model, batch = _model(case), _batch(case)
    rules = table(model)
    variables = rules.variables(
        case.group("param/main."), template(model, batch, train=False)
    )
    outputs, loss, terms, captured, gradients = _run(model, variables, batch)
    (encoded,), (f,) = captured["encoder"]["__call__"], captured["features"]
    unmasked, causal = (
        _run(changed, variables, batch, differentiate=False)
        for changed in (model.clone(mask="none"), model.clone(causal_teachers=True))
    )
    results = {
        "out/pred": outputs["pred"],
        "out/bert_last_hidden": encoded.last,
        "out/query_text": jnp.swapaxes(f["text"], 0, 1),
        "out/x_t_embed": outputs["text"],
        "out/nomask/pred": unmasked.outputs["pred"],
        "loss/pred": terms["task"],
        "loss/nce": terms["nce_vision"] + terms["nce_audio"],
        "loss/total": loss,
    }
    for m in _TAUGHT:
        queried = _all_queries(model, variables["params"][f"mpa_{m}"], f["text"], f[m])
        results |= {
            f"out/key_{m}": jnp.swapaxes(f[m], 0, 1),
            f"out/h_t{m[0]}": jnp.swapaxes(queried, 0, 1),
            f"out/teacher_{m}": outputs[f"teacher_{m}"],
            f"out/x_{m[0]}_embed": outputs[m],
            f"loss/kl_{m[0]}": terms[f"kl_{m}"],
            f"loss/nce_{m[0]}t": terms[f"nce_{m}"],
            f"loss/causal_teacher/kl_{m[0]}": causal.terms[f"kl_{m}"],
        }
    arrays = rules.arrays(gradients)
    return results | {f"grad/main.{name}": array for name, array in arrays.items()}


def _all_queries(model: MFON, params: Any, x: jax.Array, source: jax.Array):
    """MPA as the authors compute it, for every position of the text: [B, L, D]."""
    layers = params["layers"]["fc1"]["kernel"].shape[0]
    encoder = CrossmodalEncoder(
        heads=model.heads,
        layers=layers,
        expansion=1,
        causal=model.mask == "static",
        fairseq_zero_pos=model.fairseq_zero_pos,
    )
    mask, source_mask = (jnp.ones(v.shape[:2], bool) for v in (x, source))

    def encode(params, x, source):
        masks: Any = dict(mask=mask, source_mask=source_mask)
        return encoder.apply({"params": params}, x, source, **masks, train=False)

    return jax.jit(encode, compiler_options=COMPILER)(params, x, source)


def _pretraining(case: Case, modality: str) -> dict[str, Any]:
    name, batch = f"{modality}_pretrain", _batch(case)
    results: dict[str, Any] = {}
    for suffix in ("", "_causal"):
        model = _model(case).clone(modality=modality)
        model = model.clone(causal_teachers=True) if suffix else model
        rules = table(model)
        variables = rules.variables(
            case.group(f"param/{name}."), template(model, batch, train=False)
        )
        run = _run(model, variables, batch, differentiate=not suffix)
        results |= {
            f"out/{name}{suffix}/pred": run.outputs["pred"],
            f"out/{name}{suffix}/feature": run.outputs[modality],
            f"loss/{name}{suffix}": run.loss,
        }
        if not suffix:
            arrays = rules.arrays(run.gradients)
            results |= {f"grad/{name}.{k}": array for k, array in arrays.items()}
    return results


def _batch(case: Case) -> Batch:
    """The inputs; the authors take padded audio and vision for real, not padded text."""
    inputs = case.group("in/")
    ids, mask = inputs["input_ids"], inputs["attention_mask"] > 0
    text = np.zeros((*ids.shape, 1), np.float32)  # no features: only its length counts
    batch = padded_batch(text, inputs["audio"], inputs["vision"], inputs["labels"])
    pieces = dict(
        text_ids=ids, text_type=inputs["token_type_ids"], text_mask=np.asarray(mask)
    )
    return batch | {name: jnp.asarray(array) for name, array in pieces.items()}


def _model(case: Case) -> MFON:
    def layers(names: str) -> tuple[int, int]:
        vision, audio = case.setting(names)
        return audio, vision

    return MFON(
        spec_of(_batch(case)),
        encoder=BertConfig.read(case.setting("bert")),
        dim=case.setting("encoder_fea_dim"),
        heads=case.setting("nhead"),
        layers=layers("vision_text_tf_num_layers, audio_text_tf_num_layers"),
        teacher_layers=layers("vision_tf_num_layers, audio_tf_num_layers"),
        teacher_dropouts=(0.0, 0.0),
        dropout=0.0,
        text_dropout=0.0,
        mask="static" if case.setting("attn_mask") else "none",
        causal_teachers=case.setting("teacher attn_mask"),
        distillation=case.setting("delta_va"),
        contrast=case.setting("delta_nce"),
        **reference_form("mfon"),
    )
