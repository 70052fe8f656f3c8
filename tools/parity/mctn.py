"""MCTN of thuiar/MMSA: over the batch, as published, and over time."""

from typing import Any

import jax
import jax.numpy as jnp

from msajax.models.mctn import MCTN
from msajax.weights import reference_form, template
from msajax.weights.mctn import table
from tools.parity.case import Case
from tools.parity.replay import padded_batch, run, spec_of

_TRANSLATIONS = {f"{m}_hat": m for m in ("vision", "text", "audio")}


def reproduce(case: Case) -> dict[str, Any]:
    """The case's results as our module gives them; what is over time has time first."""
    inputs = [case.arrays[f"in/{m}"] for m in ("text", "audio", "vision", "labels")]
    batch = padded_batch(*inputs)
    settings = {**reference_form("mctn"), "hidden": case.setting("hid_dim")}
    model = MCTN(spec_of(batch), **settings)
    variables = table(model).variables(
        case.group("param/"), template(model, batch, train=False)
    )
    results: dict[str, Any] = {}
    if case.expects("loss/"):
        # 'M' is [B, 1], and may be the only output of that name
        result = run(model, variables, batch)
        (out,) = result.collections["intermediates"]["__call__"]
        results |= {f"out/{k}": v for k, v in _outputs(out, swap=False).items()}
        results |= {f"loss/{k}": v for k, v in result.terms.items() if k != "pred"}
        results |= {"loss/total": result.loss, "loss/l1": result.terms["task"]}
        results |= {
            f"grad/{k}": v
            for k, v in table(model).arrays({"params": result.gradients}).items()
        }
    if case.expects("out/time_first/"):
        timed = MCTN(spec_of(batch), **{**settings, "layout": "time"})
        out = jax.jit(lambda v, b: timed.apply(v, b, train=False))(variables, batch)
        outputs = _outputs(out, swap=True)
        results |= {f"out/time_first/{k}": v for k, v in outputs.items()}
    return results


def _outputs(out: Any, *, swap: bool) -> dict[str, Any]:
    """Outputs by the case's names; swapped, [B, L, ...] become [L, B, ...]."""
    found = {k: out["translations"][m] for k, m in _TRANSLATIONS.items()}
    found |= {"join1": out["joint"], "join2": out["joint_2"]}
    if swap:
        found = {k: jnp.swapaxes(v, 0, 1) for k, v in found.items()}
    # The attention is over what the recurrence runs over, whose steps come first.
    attention = jnp.swapaxes(out["attention"], 0, 1)
    return {**found, "M": out["pred"], "attention1_first_translation": attention}
