"""RAVEN of victorywys/RAVEN, for a number and for one emotion, as published and with all its gradients."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from msajax.models.raven import RAVEN, _PositionNorm
from msajax.nn.linear import Linear
from msajax.nn.recurrent import LSTM
from msajax.weights import reference_form, template
from msajax.weights.raven import table
from tools.parity.case import Case
from tools.parity.replay import padded_batch, run, spec_of

_NAMES = {"audio": "covarep", "vision": "facet"}


def reproduce(case: Case) -> dict[str, Any]:
    """The case's results as our module gives them."""
    results: dict[str, Any] = {}
    for labels, prefix in (("labels", ""), ("binary_labels", "binary")):
        batch = _batch(case, labels)
        for connected, kind in ((False, "published"), (True, "connected")):
            model = _model(case, batch, outputs=2 if prefix else 1)
            model = model.clone(connected=connected)
            rules = table(model)
            variables = rules.variables(
                case.group("param/"), template(model, batch, train=False)
            )
            captured = (Linear, LSTM, _PositionNorm)
            result = run(model, variables, batch, train=True, capture=captured)
            where = "_".join(filter(None, (prefix, kind)))
            gradients = rules.arrays({"params": result.gradients})
            results |= {f"grad/{where}/{k}": x for k, x in gradients.items()}
            place = "/".join(filter(None, ("loss", prefix, "total")))
            results[place] = result.loss
            if not prefix:
                results |= _outputs(model, variables, batch, result.collections)
    return results


def _batch(case: Case, labels: str) -> dict[str, jax.Array]:
    """Each word's frames one after another, as many steps as all words have frames."""
    inputs = case.group("in/")
    words, (rows, frames) = inputs["words"], inputs["covarep"].shape[1:3]
    steps = {
        n: inputs[n].reshape(len(words), rows * frames, -1)
        for n in ("covarep", "facet")
    }
    target = inputs[labels]
    if labels == "binary_labels":
        target = target.astype(np.int32)
    batch = padded_batch(words, steps["covarep"], steps["facet"], target)
    real = np.arange(rows)[None] < inputs["input_lengths"][:, None]
    batch["text_mask"] = jnp.asarray(real)
    for ours, name in _NAMES.items():
        real = np.arange(frames) < inputs[f"{name}_lengths"][..., None]
        batch[f"{ours}_mask"] = jnp.asarray(real.reshape(len(words), -1))
    return batch


def _model(case: Case, batch: dict[str, jax.Array], *, outputs: int) -> RAVEN:
    return RAVEN(
        spec_of(batch, outputs),
        dim=case.setting("normDim"),
        cell=case.setting("cellDim"),
        hidden=case.setting("hiddenDim"),
        frames=case.setting("shift_padding_len"),
        beta=case.setting("shift_weight"),
        dropout=0.0,
        **reference_form("raven"),
    )


def _outputs(
    model: RAVEN, variables: Any, batch: dict[str, jax.Array], collections: Any
) -> dict[str, Any]:
    found = collections["intermediates"]
    (out,) = found["__call__"]
    words = batch["text"].reshape(-1, batch["text"].shape[-1])
    results = {
        "out/M": out["pred"],
        "out/logits": out["pred"],
        "out/normcovarep": found["norm"]["__call__"][0],
        "out/calcAddon": found["shift"]["__call__"][0].reshape(words.shape),
        "out/shifted_words": out["words"],
    }
    for ours, name in _NAMES.items():
        _, last = found[f"frames_{ours}"]["__call__"][0]
        results[f"out/{name}_state_and_word"] = jnp.concatenate([last, words], axis=1)
        gate = found[f"gate_{ours}"]["__call__"][0]
        results[f"out/{name}W"] = gate.reshape(len(words), 1)
    # The reference runs on over the padding, which nothing reads.
    weights = {"params": variables["params"]["words"]}
    everywhere = jnp.ones_like(batch["text_mask"])
    results["out/lstm1"], _ = jax.jit(
        lambda: LSTM(model.hidden).apply(weights, out["words"], everywhere, train=False)
    )()
    return results
