"""DialogueRNN of declare-lab/conv-emotion (BiModel), with three kinds of context attention and a listener."""

from typing import Any

import numpy as np

from msajax.models.dialogue_rnn import DialogueRNN
from msajax.weights import reference_form
from msajax.weights.dialogue_rnn import table
from tools.parity.case import Case
from tools.parity.replay import dialogues, log_softmax, of_variant, unweighted


def reproduce(case: Case) -> dict[str, Any]:
    """The case's results as our module gives them."""
    inputs, results = case.group("in/"), {}
    spec, batch = dialogues(
        inputs["U"],
        inputs["umask"],
        inputs["qmask"],
        inputs["labels"],
        classes=case.setting("n_classes"),
    )
    for variant, settings in case.settings[
        "variants (listener_state, context_attention)"
    ].items():
        listener, attention = settings
        model = DialogueRNN(
            spec,
            global_dim=case.setting("D_g"),
            party_dim=case.setting("D_p"),
            hidden=case.setting("D_e"),
            context_attention=attention,
            attention_dim=case.setting("D_a"),
            listener=listener,
            post_dim=2 * case.setting("D_h"),
            recurrent_dropout=0.0,
            dropout=0.0,
            class_weights=tuple(inputs["class_weights"].tolist()),
            **reference_form("dialogue_rnn"),
        )
        out, of_model = of_variant(case, variant, model, table(model), batch)
        found = {k: np.swapaxes(np.asarray(x), 0, 1) for k, x in out.items()}
        results |= {
            **of_model,
            f"out/{variant}/logits": found["pred"],
            f"out/{variant}/log_prob": log_softmax(found["pred"]),
            f"out/{variant}/emotions_f": found["forward"],
            f"out/{variant}/emotions_b_reversed": found["backward"],
            f"out/{variant}/alpha": found["weights"],
            f"out/{variant}/alpha_f_last": found["context"][-1, :, :-1],
            f"loss/{variant}/unweighted": unweighted(model, out, batch),
        }
    return results
