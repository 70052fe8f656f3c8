"""COSMIC of declare-lab/conv-emotion (CommonsenseGRUModel): three norms and combinations, and a listener."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

from msajax.models.cosmic import COSMIC
from msajax.nn.recurrent import Recurrent
from msajax.weights import blocks, reference_form, template
from msajax.weights.cosmic import table
from msajax.weights.table import Table
from tools.parity.case import Case
from tools.parity.replay import dialogues, log_softmax, of_variant, unweighted

# By the reference's numbers.
_NORMS = ("none", "layer", "dialogue", "batch")
_COMBINED = (
    *("concat", "concat_two", "mean", "layer_1", "layer_2", "layer_3", "layer_4"),
    "weighted",
)


def reproduce(case: Case) -> dict[str, Any]:
    """The case's results as our module gives them."""
    inputs, results = case.group("in/"), {}
    text, sense = (
        np.concatenate([inputs[name] for name in names], axis=-1)
        for names in (("r1", "r2", "r3", "r4"), ("x1", "x2", "x3", "o1", "o2"))
    )
    spec, batch = dialogues(
        text,
        inputs["umask"],
        inputs["qmask"],
        inputs["labels"],
        classes=case.setting("n_classes"),
    )
    batch["commonsense"] = jnp.asarray(np.swapaxes(sense, 0, 1))
    spec = dataclasses.replace(spec, commonsense=sense.shape[-1])
    for variant, settings in case.setting("variants").items():
        listener, attention, combine, norm, residual, _ = settings
        # The listener's cells fit the reference's other widths only where all are D_g.
        widths = [case.setting("D_g" if listener else key) for key in ("D_p", "D_r")]
        model = COSMIC(
            spec,
            norm=_NORMS[norm],
            combine=_COMBINED[combine],
            hidden=case.setting("D_h"),
            global_dim=case.setting("D_g"),
            party_dim=widths[0],
            reaction_dim=widths[1],
            intent_dim=case.setting("D_i"),
            context_attention=attention,
            listener=listener,
            residual=residual,
            recurrent_dropout=0.0,
            dropout=0.0,
            class_weights=tuple(inputs["class_weights"].tolist()),
            **reference_form("cosmic"),
        )
        for mode in ("", "_train"):
            if case.expects(f"out/{variant}{mode}/"):
                results |= _of_mode(case, variant, mode, model, batch)
        if case.expects(f"out/{variant}/sense"):
            results[f"out/{variant}/sense"] = _unread(case, variant, inputs["x1"])
    return results


def _of_mode(
    case: Case, variant: str, mode: str, model: COSMIC, batch: Any
) -> dict[str, Any]:
    out, of_model = of_variant(
        case, variant, model, table(model), batch, train=bool(mode)
    )
    found = {k: np.swapaxes(np.asarray(x), 0, 1) for k, x in out.items()}
    name = f"{variant}{mode}"
    return {
        **of_model,
        f"out/{name}/logits": found["pred"],
        f"out/{name}/log_prob": log_softmax(found["pred"]),
        f"out/{name}/linear_in": found["utterances"],
        f"out/{name}/emotions_f": found["forward"],
        f"out/{name}/emotions": found["states"],
        f"out/{name}/alpha": found["weights"],
        f"loss/{name}/unweighted": unweighted(model, out, batch),
    }


def _unread(case: Case, variant: str, x: np.ndarray) -> np.ndarray:
    """The GRU over the effects [U, B, S], which our system leaves out."""
    gru = Recurrent(x.shape[-1] // 2, "gru", bidirectional=True)
    x, mask = np.swapaxes(x, 0, 1), np.ones(x.shape[1::-1], bool)
    rules = Table(tuple(blocks.recurrent("gru", "gru", "gru")))
    state = case.group(f"param/{variant}.sense_")
    like = {"params": {"gru": template(gru, x, mask)["params"]}}
    params = rules.variables(state, like)["params"]["gru"]
    return np.swapaxes(np.asarray(gru.apply({"params": params}, x, mask)), 0, 1)
