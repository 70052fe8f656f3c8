"""bc-LSTM of declare-lab/conv-emotion: with attention, without, and on words."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from msajax.models.bc_lstm import BCLSTM
from msajax.weights import reference_form, template
from msajax.weights.bc_lstm import table
from tools.parity.case import Case
from tools.parity.replay import dialogues, run


def reproduce(case: Case) -> dict[str, Any]:
    """The case's results as our module gives them."""
    results = {}
    for variant in ("attention", "plain", "words"):
        if case.expects(f"out/{variant}/"):
            results |= _variant(case, variant)
    return results


def _variant(case: Case, variant: str) -> dict[str, Any]:
    inputs, words = case.group("in/"), variant == "words"
    sizes = case.setting("words") if words else {}
    spec, batch = dialogues(
        inputs["words" if words else "U"],
        inputs["umask"],
        inputs["qmask"],
        inputs["labels"],
        classes=case.setting("n_classes"),
        vocabulary=sizes.get("vocab", 0),
    )
    fields = dict(
        hidden=case.setting("D_e"),
        attention=variant != "plain",
        post_dim=case.setting("D_h"),
        dropout=0.0,
        class_weights=tuple(inputs["class_weights"].tolist()),
        **reference_form("bc_lstm"),
    )
    if words:
        fields |= dict(
            word_dim=sizes["embedding_dim"],
            filters=sizes["cnn_filters"],
            kernel_sizes=tuple(sizes["cnn_kernel_sizes"]),
            word_features=sizes["cnn_output_size"],
        )
    model = BCLSTM(spec, **fields)
    rules = table(model)
    variables = rules.variables(
        case.group(f"param/{variant}."), template(model, batch, train=False)
    )
    result = run(model, variables, batch)
    (out,) = result.collections["intermediates"]["__call__"]
    unweighted = model.clone(class_weights=()).task_loss(out["pred"], batch)
    names = {"pred": "logits", "states": "lstm", "weights": "alpha"}
    names["words"] = "cnn_features"
    found = {names[k]: jnp.swapaxes(x, 0, 1) for k, x in out.items()}
    return {
        **{f"out/{variant}/{k}": np.asarray(x) for k, x in found.items()},
        f"out/{variant}/log_prob": _log_softmax(found["logits"]),
        f"loss/{variant}/total": result.loss,
        f"loss/{variant}/unweighted": unweighted,
        **{
            f"grad/{variant}/{k}": x
            for k, x in rules.arrays({"params": result.gradients}).items()
        },
    }


def _log_softmax(logits: Any) -> Any:
    logits = np.asarray(logits)
    high = logits - logits.max(-1, keepdims=True)
    return high - np.log(np.exp(high).sum(-1, keepdims=True))
