"""MMLatch of georgepar/mmlatch, with either kind of feedback and without."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from msajax.data.spec import MODALITIES
from msajax.models.base import Batch
from msajax.models.mmlatch import MMLatch
from msajax.weights import reference_form, template
from msajax.weights.mmlatch import _NAMES, table
from tools.parity.case import Case
from tools.parity.replay import padded_batch, run, spec_of

# The case's variants: their feedback, and the prefix of their loss and gradients.
_VARIANTS = {
    "feedback": ("sequence", ""),
    "static": ("static", "static/"),
    "no_feedback": ("off", "no_feedback/"),
}


def reproduce(case: Case) -> dict[str, Any]:
    """The case's results as our module gives them."""
    batch, results = _batch(case), {}
    for variant, (feedback, prefix) in _VARIANTS.items():
        if case.expects(f"out/{variant}/"):
            found = _variant(case, batch, feedback)
            for name, x in found.items():
                kind, _, rest = name.partition("/")
                place = variant + "/" if kind == "out" else prefix
                results[f"{kind}/{place}{rest}"] = x
    return results


def _variant(case: Case, batch: Batch, feedback: str) -> dict[str, Any]:
    model = _model(case, batch, feedback)
    state = case.group("param/")
    static = {k: v for k, v in state.items() if k.startswith("static.")}
    state = {k: v for k, v in state.items() if k not in static}
    if feedback != "sequence":
        state = {k: v for k, v in state.items() if not k.startswith("encoder.fm.")}
    if feedback == "static":
        state |= {k.removeprefix("static."): v for k, v in static.items()}
    rules = table(model)
    variables = rules.variables(state, template(model, batch, train=False))
    result = run(model, variables, batch)
    (out,) = result.collections["intermediates"]["__call__"]
    names = {"pred": "M", "fused": "fused", "fusion": "fusion_rnn"}
    for m, name in _NAMES.items():
        names |= {f"first_{m}": f"pass1_{name}", f"masked_{m}": f"masked_{name}"}
        # Without feedback the only pass is the first.
        names[m] = f"pass1_{name}" if feedback == "off" else f"pass2_{name}"
    gradients = rules.arrays({"params": result.gradients})
    return {
        **{f"out/{name}": out[ours] for ours, name in names.items() if ours in out},
        "loss/total": result.loss,
        **{f"grad/{name}": array for name, array in gradients.items()},
    }


def _batch(case: Case) -> Batch:
    inputs = case.group("in/")
    text, audio, vision = (inputs[m] for m in MODALITIES)
    batch = padded_batch(text, audio, vision, inputs["labels"])
    steps = np.arange(inputs["text"].shape[1])[None] < inputs["lengths"][:, None]
    return batch | {f"{m}_mask": jnp.asarray(steps) for m in MODALITIES}


def _model(case: Case, batch: Batch, feedback: str) -> MMLatch:
    return MMLatch(
        spec_of(batch),
        dim=case.setting("projection_size"),
        feedback=feedback,
        cell=case.setting("encoder_type"),
        bidirectional=case.setting("bidirectional"),
        dropout=0.0,
        fusion_dropout=0.0,
        feedback_dropout=0.0,
        mask_dropout=0.0,
        **reference_form("mmlatch"),
    )
