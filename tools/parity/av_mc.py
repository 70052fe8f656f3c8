"""AV-MC: the class V1 of thuiar/ch-sims-v2, with its frozen BERT."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from msajax.data.spec import MODALITIES, Spec
from msajax.encoders.bert import BertConfig
from msajax.models.av_mc import AVMC
from msajax.models.base import Batch
from msajax.nn.mixup import Mixup
from msajax.weights import bert, template
from msajax.weights.av_mc import table
from msajax.weights.table import Table
from tools.parity.case import Case
from tools.parity.replay import COMPILER, padded_batch, spec_of

_BERT = "text_model.model."


_LETTERS = dict(zip("MTAV", ("all", *MODALITIES), strict=True))


def reproduce(case: Case) -> dict[str, Any]:
    """The case's results as our module gives them, for given mixes."""
    batch, mixes = _batch(case), _mixes(case)
    model = _model(case, batch)
    rules = table(model)
    variables = rules.variables(
        case.group("param/"), template(model, batch, train=False)
    )
    results: dict[str, Any] = {
        f"out/mixed_{m}": mix.blend(batch[m], mix.partners(batch[m]))
        for m, mix in mixes.items()
    }
    for mode in ("eval", "train"):
        options = dict(train=mode == "train")
        loss, terms, after, gradients = _run(model, variables, batch, mixes, **options)
        found = after["intermediates"]
        names = "clean", *(f"{m}_mix" for m in mixes)
        passes = zip(names, found["forward"], found["task_losses"], strict=True)
        for name, out, losses in passes:
            results |= _forward(f"{mode}/{name}", out, losses, model)
        for m in mixes:
            results[f"loss/{mode}/{m}_mix"] = terms[f"{m}_mix"]
        results[f"loss/{mode}/total"] = loss
        arrays = rules.arrays({"params": gradients})
        results |= {f"grad/{mode}/{name}": array for name, array in arrays.items()}
    statistics = rules.arrays({"batch_stats": after["batch_stats"]})
    return results | {f"out/train_after/{k}": v for k, v in statistics.items()}


def _run(model: AVMC, variables: Any, batch: Batch, mixes: Any, *, train: bool):
    """Loss, terms, collections after it and gradients."""
    apply: Callable[..., Any] = model.apply
    others = {name: tree for name, tree in variables.items() if name != "params"}

    def captured(module: nn.Module, method: str) -> bool:
        return module.name is None and method in ("forward", "task_losses")

    def loss_of(params):
        (loss, terms), after = apply(
            {"params": params, **others},
            batch,
            mixes,
            train=train,
            method="loss_of_mixes",
            mutable=[*others, "intermediates"],
            capture_intermediates=captured,
        )
        return loss, (terms, after)

    run = jax.jit(jax.value_and_grad(loss_of, has_aux=True), compiler_options=COMPILER)
    (loss, (terms, after)), gradients = run(variables["params"])
    return loss, terms, after, gradients


def _forward(
    name: str, out: dict[str, jax.Array], losses: dict[str, jax.Array], model: AVMC
) -> dict[str, Any]:
    """Results of one of the forward passes."""
    results: dict[str, Any] = {}
    for letter, modality in _LETTERS.items():
        every = modality == "all"
        feature = "f" if every else letter.lower()
        results |= {
            f"out/{name}/Feature_{feature}": out["fusion" if every else modality],
            f"out/{name}/{letter}": out["pred" if every else f"pred_{modality}"],
            f"loss/{name}_{letter}": losses[modality],
        }
    weights: dict[str, float] = dict(
        zip(("all", *MODALITIES), model.weights, strict=True)
    )
    total = sum(weights[modality] * loss for modality, loss in losses.items())
    return results | {f"loss/{name}": total}


def _mixes(case: Case) -> dict[str, Mixup]:
    inputs = case.group("in/")
    return {
        m: Mixup(jnp.asarray(inputs[f"lambda_{m}"]), jnp.asarray(inputs[f"perm_{m}"]))
        for m in ("audio", "vision")
    }


def _batch(case: Case) -> Batch:
    """The inputs, of the text the features that the frozen BERT makes of it."""
    inputs = case.group("in/")
    ids, mask, segments = np.moveaxis(inputs["text_bert"], 1, 0).astype(np.int32)
    encoder = BertConfig.read(case.setting("bert")).encoder(pooler=False)
    arguments: Any = dict(ids=ids, mask=mask > 0, segments=segments, train=False)
    variables = Table(
        rules=tuple(bert.rules(encoder)), ignored=(r"pooler\..*", bert.BUFFERS)
    ).variables(case.group(f"param/{_BERT}"), template(encoder, **arguments))
    encoded: Any = encoder.apply(variables, **arguments)
    batch = padded_batch(
        encoded.last, inputs["audio"], inputs["vision"], inputs["labels_M"]
    )
    for letter, modality in _LETTERS.items():
        if modality != "all":
            label = inputs[f"labels_{letter}"].ravel()
            batch[f"label_{modality}"] = jnp.asarray(label)
    return batch


def _model(case: Case, batch: Batch) -> AVMC:
    shapes = spec_of(batch)
    fields = (*Spec.fields, *(f"label_{m}" for m in MODALITIES))
    low, width = (
        case.arrays[f"param/output_{name}"].item() for name in ("shift", "range")
    )
    weights = case.setting("loss weights")
    return AVMC(
        Spec(shapes.dims, shapes.lengths, shapes.num_train, fields=fields),
        hidden_dims=tuple(case.setting("hidden_dims")),
        post_dims=tuple(
            case.setting(f"post_{name}_dim") for name in ("text", "audio", "video")
        ),
        fusion_dim=case.setting("post_fusion_out"),
        audio_dropout=0.0,
        vision_dropout=0.0,
        post_dropouts=(0.0, 0.0, 0.0),
        fusion_dropout=0.0,
        weights=tuple(weights[letter] for letter in _LETTERS),
        output_range=(low, low + width),
    )
