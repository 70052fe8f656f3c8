"""MARN of sverma88's PyTorch code: as published, and with the states of all modalities updated."""

from typing import Any

import numpy as np

from msajax.models.marn import MARN
from msajax.weights import reference_form, template
from msajax.weights.marn import heads_first, table
from tools.parity.case import Case
from tools.parity.replay import padded_batch, run, spec_of

_RECURRENCE = {"published": "text", "repaired": "all"}


def reproduce(case: Case) -> dict[str, Any]:
    """The case's results as our module gives them."""
    inputs = case.group("in/")
    batch = padded_batch(*(inputs[n] for n in ("text", "audio", "vision", "labels")))
    hidden, views = (case.setting(name) for name in ("len_mem", "len_z_m"))
    results: dict[str, Any] = {}
    for variant, recurrence in _RECURRENCE.items():
        model = MARN(
            spec_of(batch),
            hidden_dims=tuple(hidden[::-1]),
            view_dims=tuple(views[::-1]),
            heads=case.setting("K"),
            post_dim=case.setting("z_hidden"),
            **reference_form("marn"),
        )
        model = model.clone(recurrence=recurrence)
        rules = table(model)
        weights = case.group("param/")
        variables = rules.variables(weights, template(model, batch, train=False))
        result = run(model, variables, batch)
        (out,) = result.collections["intermediates"]["__call__"]
        attention = np.reshape(out["attention"], (*batch["text"].shape[:2], -1))
        found = {
            "M": out["pred"],
            "z": out["fusion"],
            **{f"h_{m[0]}": out[m] for m in ("vision", "audio", "text")},
            "attention": attention[..., np.argsort(heads_first(model))],
        }
        results |= {f"out/{variant}/{name}": x for name, x in found.items()}
        results[f"loss/{variant}/total"] = result.loss
        gradients = rules.arrays({"params": result.gradients})
        results |= {f"grad/{variant}/{name}": x for name, x in gradients.items()}
    return results
