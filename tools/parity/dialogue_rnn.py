"""DialogueRNN of declare-lab/conv-emotion (BiModel), with three kinds of context attention and a listener."""

from typing import Any

import numpy as np

from msajax.models.dialogue_rnn import DialogueRNN
from msajax.weights import reference_form, template
from msajax.weights.dialogue_rnn import table
from tools.parity.case import Case
from tools.parity.replay import dialogues, run


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
        rules = table(model)
        variables = rules.variables(
            case.group(f"param/{variant}."), template(model, batch, train=False)
        )
        result = run(model, variables, batch)
        (out,) = result.collections["intermediates"]["__call__"]
        found = {k: np.swapaxes(np.asarray(x), 0, 1) for k, x in out.items()}
        high = found["pred"] - found["pred"].max(-1, keepdims=True)
        results |= {
            f"out/{variant}/logits": found["pred"],
            f"out/{variant}/log_prob": high
            - np.log(np.exp(high).sum(-1, keepdims=True)),
            f"out/{variant}/emotions_f": found["forward"],
            f"out/{variant}/emotions_b_reversed": found["backward"],
            f"out/{variant}/alpha": found["weights"],
            f"out/{variant}/alpha_f_last": found["context"][-1, :, :-1],
            f"loss/{variant}/total": result.loss,
            f"loss/{variant}/unweighted": model.clone(class_weights=()).task_loss(
                out["pred"], batch
            ),
        }
        gradients = rules.arrays({"params": result.gradients})
        results |= {f"grad/{variant}/{k}": x for k, x in gradients.items()}
    return results
