"""MM-DFN of zerohd4869/MM-DFN: as published, without the LSTM along the layers, and with embeddings."""

from typing import Any

import jax
import numpy as np

from msajax.models.mm_dfn import MMDFN
from msajax.weights import reference_form
from msajax.weights.mm_dfn import table
from tools.parity.case import Case
from tools.parity.replay import dialogues, log_softmax, of_variant, unweighted

_VARIANTS = "variants (reason_flag, use_speaker, use_modal, av_using_lstm, speaker_weights a-v-l, modal_weight)"


def reproduce(case: Case) -> dict[str, Any]:
    """The case's results as our module gives them."""
    inputs, results = case.group("in/"), {}
    spec, batch = dialogues(
        inputs["text"],
        inputs["umask"],
        inputs["qmask"],
        inputs["labels"],
        classes=case.setting("n_classes"),
        audio=inputs["audio"],
        vision=inputs["vision"],
    )
    for variant, settings in case.settings[_VARIANTS].items():
        model = _model(case, spec, settings)
        out, of_model = of_variant(case, variant, model, table(model), batch)
        found = _outputs(out, inputs["umask"].astype(bool))
        results |= {f"out/{variant}/{k}": x for k, x in found.items()}
        plain = unweighted(model, out, batch)
        nll = model.clone(focal=False).task_loss(out["pred"], batch)
        terms = {"focal_unweighted": plain, "nll": nll}
        results |= of_model | {f"loss/{variant}/{k}": x for k, x in terms.items()}
    return results


def _model(case: Case, spec: Any, settings: list[Any]) -> MMDFN:
    reason, speaker, modal, recurrent, weights, modal_weight = settings
    audio, vision, text = (float(w) for w in weights.split("-"))
    weights_of_classes = case.arrays["in/class_weights"]
    return MMDFN(
        spec,
        hidden=case.setting("D_e"),
        graph_dim=case.setting("graph_hidden_size"),
        layers=case.setting("Deep_GCN_nlayers"),
        alpha=case.setting("alpha"),
        lamda=case.setting("lamda"),
        reason=reason,
        recurrent_all=recurrent,
        speaker_weights=(text, audio, vision),
        embed_speaker=speaker,
        embed_modality=modal,
        modal_weight=modal_weight,
        dropout=0.0,
        gamma=case.setting("gamma"),
        class_weights=tuple(weights_of_classes.tolist()),
        **reference_form("mm_dfn"),
    )


def _outputs(out: dict[str, jax.Array], real: np.ndarray) -> dict[str, np.ndarray]:
    """As the reference has them: the utterances of all dialogues, those of a modality after another's."""
    pred, fusion = (np.asarray(out[name])[real] for name in ("pred", "fusion"))
    layers = np.moveaxis(np.asarray(out["layers"]), 2, 1)  # [N, M, B, U, H]
    names = {"features_a": "audio", "features_v": "vision", "features_l": "text"}
    return {
        "logits": pred,
        "log_prob": log_softmax(pred),
        "adjacency": _adjacency(
            np.asarray(out["intra"]), np.asarray(out["inter"]), real
        ),
        "conv_outputs": layers[:, :, real].reshape(len(layers), -1, layers.shape[-1]),
        **{name: np.asarray(out[ours])[real] for name, ours in names.items()},
        "graph_features": fusion,
    }


def _adjacency(intra: np.ndarray, inter: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Between all nodes: [M N, M N], N utterances."""
    rows, count, turns, _ = intra.shape
    full = np.zeros((count, rows, turns, count, rows, turns), np.float32)
    for b in range(rows):
        for m in range(count):
            full[m, b, :, m, b] = intra[b, m]
            for n in set(range(count)) - {m}:
                full[m, b, :, n, b] = np.diag(inter[b, m, n])
    return full[:, real][:, :, :, real].reshape(count * real.sum(), -1)
