"""DialogueGCN of declare-lab/conv-emotion, on each of its base models."""

import dataclasses
from typing import Any

import numpy as np

from msajax.models.dialoguegcn import DialogueGCN
from msajax.weights import reference_form
from msajax.weights.dialoguegcn import table
from tools.parity.case import Case
from tools.parity.replay import dialogues, log_softmax, of_variant, unweighted

_VARIANTS = "variants (base_model, nodal_attention, window past/future; -1 = unlimited)"
_BASES = {"DialogRNN": "dialogue_rnn", "LSTM": "lstm", "GRU": "gru", "None": "none"}


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
    # The reference has a query for each position that there may be.
    turns = case.setting("max_seq_len")
    spec = dataclasses.replace(spec, turns=turns, lengths=(turns, turns, turns))
    for variant, settings in case.settings[_VARIANTS].items():
        model = _model(case, spec, *settings)
        out, of_model = of_variant(case, variant, model, table(model), batch)
        results |= of_model
        results[f"loss/{variant}/unweighted"] = unweighted(model, out, batch)
        found = {k: np.asarray(x) for k, x in out.items()}
        order = case.arrays[f"out/{variant}/edge_index"]
        speaker = np.asarray(batch["speaker"])
        found = _outputs(found, model, inputs["umask"].astype(bool), speaker, order)
        results |= {f"out/{variant}/{k}": x for k, x in found.items()}
    return results


def _model(
    case: Case, spec: Any, base: str, nodal: bool, window: list[int]
) -> DialogueGCN:
    attention = case.settings.get("context_attention", "general")
    return DialogueGCN(
        spec,
        base=_BASES[base],
        hidden=case.setting("D_e"),
        global_dim=case.setting("D_g"),
        party_dim=case.setting("D_p"),
        attention_dim=case.setting("D_a"),
        context_attention=attention,
        recurrent_dropout=0.0,
        graph_dim=case.setting("graph_hidden_size"),
        bases=case.setting("RGCN num_bases"),
        window_past=window[0],
        window_future=window[1],
        nodal_attention=nodal,
        dropout=0.0,
        class_weights=tuple(case.arrays["in/class_weights"].tolist()),
        **reference_form("dialoguegcn"),
    )


def _outputs(
    out: dict[str, np.ndarray],
    model: DialogueGCN,
    real: np.ndarray,
    speaker: np.ndarray,
    order: np.ndarray,
) -> dict[str, np.ndarray]:
    """As the reference has them: the utterances of all dialogues, edges in the order of its list."""
    pred = out["pred"][real]
    edges, parties = np.argwhere(out["weights"] > 0), model.spec.speakers  # [E, 3]
    number = np.cumsum(real).reshape(real.shape) - 1
    row, i, j = edges.T
    index = np.stack([number[row, i], number[row, j]])
    types = 2 * (parties * speaker[row, i] + speaker[row, j]) + (i >= j)
    place = {pair: at for at, pair in enumerate(zip(*index.tolist(), strict=True))}
    if place.keys() == set(zip(*order.tolist(), strict=True)):
        at = [place[pair] for pair in zip(*order.tolist(), strict=True)]
        edges, index, types = edges[at], index[:, at], types[at]
    turns = model.spec.turns - real.shape[1]
    return {
        "logits": pred,
        "log_prob": log_softmax(pred),
        "sequence_features": np.swapaxes(out["states"], 0, 1),
        "edge_scores": np.pad(out["weights"], ((0, 0), (0, turns), (0, 0))),
        "conv1": out["conv1"][real],
        "conv2": out["conv2"][real],
        "edge_index": index,
        "edge_norm": out["weights"][tuple(edges.T)],
        "edge_type": types,
        "edge_counts": np.bincount(edges[:, 0], minlength=len(real)),
    }
