"""bc-LSTM of declare-lab/conv-emotion: with attention, without, and on words."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from msajax.models.bc_lstm import BCLSTM
from msajax.weights import reference_form
from msajax.weights.bc_lstm import table
from tools.parity.case import Case
from tools.parity.replay import dialogues, log_softmax, of_variant, unweighted


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
    out, results = of_variant(case, variant, model, table(model), batch)
    names = {"pred": "logits", "states": "lstm", "weights": "alpha"}
    names["words"] = "cnn_features"
    found = {names[k]: jnp.swapaxes(x, 0, 1) for k, x in out.items()}
    return {
        **results,
        **{f"out/{variant}/{k}": np.asarray(x) for k, x in found.items()},
        f"out/{variant}/log_prob": log_softmax(found["logits"]),
        f"loss/{variant}/unweighted": unweighted(model, out, batch),
    }
