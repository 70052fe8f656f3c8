"""MMIM of thuiar/MMSA, with a given memory."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from msajax.data.spec import MODALITIES, Spec
from msajax.encoders.bert import BertConfig
from msajax.models.base import Batch
from msajax.models.mmim import MMIM, _Estimator, moments
from msajax.weights import template
from msajax.weights.mmim import table
from tools.parity.case import Case
from tools.parity.replay import padded_batch, run


def reproduce(case: Case) -> dict[str, Any]:
    """The case's results as our module gives them."""
    batch = _batch(case)
    model = _model(case, batch)
    rules = table(model)
    shapes = template(model, batch, train=False)
    variables = rules.variables(case.group("param/"), shapes)
    variables["memory"] = _memory(case, model)
    first = run(model, variables, batch, train=True, method="estimator_loss")
    result = run(model, variables, batch, train=True, capture=_Estimator)
    terms = result.terms
    seen = result.collections["intermediates"]
    samples, label = {}, batch["label"]
    for x, y in model.pairs:
        ((_, sample),) = seen[f"mi_{x}_{y}"]["__call__"]
        for name, where in (("pos", label > 0), ("neg", label < 0)):
            samples[f"out/pn/{x[0]}{y[0]}/{name}"] = np.asarray(sample)[where]
    gradients = rules.arrays({"params": result.gradients})
    of_first = rules.arrays({"params": first.gradients})
    return {
        **{f"out/{name}": x for name, x in result.features.items()},
        **samples,
        "loss/lld": terms["likelihood"],
        "loss/nce": terms["contrast"],
        "loss/H": terms["entropy"],
        "loss/l1": terms["task"],
        "loss/stage1_total": first.loss,
        "loss/stage2_without_H": result.loss + model.bound * terms["entropy"],
        "loss/total": result.loss,
        **{f"grad/stage1/{name}": array for name, array in of_first.items()},
        **{f"grad/{name}": array for name, array in gradients.items()},
    }


def _memory(case: Case, model: MMIM) -> dict[str, Any]:
    """The moments of the samples that the case remembers."""
    found = {}
    for x, y in model.pairs:
        samples = case.group(f"in/memory/{x[0]}{y[0]}/")
        both = np.concatenate([samples["pos"], samples["neg"]])
        positive = np.arange(len(both)) < len(samples["pos"])
        made = moments(jnp.asarray(both), jnp.stack([positive, ~positive]))
        found |= {f"{x}_{y}_{name}": array for name, array in made.items()}
    return found


def _batch(case: Case) -> Batch:
    inputs = case.group("in/")
    ids, mask, segments = np.moveaxis(inputs["text_bert"], 1, 0).astype(np.int32)
    text = np.zeros((*ids.shape, 1), np.float32)  # no features: only its length counts
    batch = padded_batch(text, inputs["audio"], inputs["vision"], inputs["labels"])
    pieces = dict(text_ids=ids, text_type=segments, text_mask=mask > 0)
    for m in ("audio", "vision"):
        length = (
            inputs[f"{m}_lengths"] if f"{m}_lengths" in inputs else mask.sum(axis=1)
        )
        pieces[f"{m}_mask"] = np.arange(inputs[m].shape[1]) < length[:, None]
    return batch | {name: jnp.asarray(array) for name, array in pieces.items()}


def _model(case: Case, batch: Batch) -> MMIM:
    (lt, dt), (la, da), (lv, dv) = (batch[m].shape[1:] for m in MODALITIES)
    return MMIM(
        Spec((dt, da, dv), (lt, la, lv), num_train=len(batch["label"])),
        encoder=BertConfig.read(case.setting("bert")),
        hidden_dims=(case.setting("d_ah"), case.setting("d_vh")),
        out_dims=(case.setting("d_aout"), case.setting("d_vout")),
        bidirectional=case.setting("bidirectional"),
        fusion_dim=case.setting("d_prjh"),
        fusion_dropout=0.0,
        audio_vision=case.setting("add_va"),
        predictor_layers=case.setting("cpc_layers"),
        contrast=case.setting("alpha"),
        bound=case.setting("beta"),
    )
