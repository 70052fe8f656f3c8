"""QMF of qiuchili/monosenti: its local mixture; `qmf_uqdnn` is its uQDNN."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from msajax import losses
from msajax.data.spec import MODALITIES, Spec
from msajax.models.qmf import QMF
from msajax.weights import reference_form, template
from msajax.weights.qmf import ORDER, table
from tools.parity.case import Case
from tools.parity.replay import COMPILER, padded_batch, spec_of


def reproduce(case: Case) -> dict[str, Any]:
    """The case's results as our module gives them."""
    inputs = case.group("in/")
    words = inputs["words"]
    blank = np.zeros((*words.shape, 1), np.float32)
    outputs = len(case.arrays["param/fc_out.5.bias"])
    own = inputs["labels"] if outputs == 1 else np.zeros(len(words), np.int32)
    batch = padded_batch(blank, inputs["audio"], inputs["vision"], own)
    del batch["text"]
    batch["text_ids"] = jnp.asarray(words)
    size, width = case.arrays["param/embed.weight"].shape
    spec = dataclasses.replace(
        spec_of({**batch, "text": jnp.asarray(blank)}, outputs),
        fields=tuple({*Spec.fields, "text_ids"} - {"text"}),
        vocabulary=size,
    )
    model = _model(case, spec, width)
    rules = table(model)
    variables = rules.variables(
        case.group("param/"), template(model, batch, train=False)
    )
    labels = jnp.asarray(inputs["labels"])

    def loss_of(params, given):
        out: Any = model.apply({"params": params}, batch | given, train=False)
        if not model.spec.classes:
            return model.task_loss(out["pred"], batch), out
        pairs = out["pred"].reshape(-1, 2)  # an emotion is absent or present
        own = jnp.argmax(labels.reshape(-1, 2), axis=-1)
        return jnp.mean(losses.cross_entropy(pairs, own)), out

    grad = jax.value_and_grad(loss_of, argnums=(0, 1), has_aux=True)
    given = {m: batch[m] for m in ("vision", "audio")}
    compute = jax.jit(grad, compiler_options=COMPILER)
    (loss, out), (of_params, of_inputs) = compute(variables["params"], given)
    gradients = rules.arrays({"params": of_params})
    return {
        **{f"out/{name}": x for name, x in _outputs(model, out).items()},
        "loss/total": loss,
        **{f"grad/{name}": x for name, x in gradients.items()},
        **{f"grad_in/{m}": x for m, x in of_inputs.items()},
    }


def _model(case: Case, spec: Spec, width: int) -> QMF:
    local = "local" in case.settings
    settings = case.setting("local" if local else "uqdnn")
    dims = dict(zip(ORDER, settings["contracted_dims"], strict=True))
    windows = (int(n) for n in str(settings.get("ngram_value", "2,3")).split(","))
    return QMF(
        spec,
        mixture="local" if local else "global",
        windows=tuple(windows),
        hidden=settings["text_hidden_dim"],
        word_dim=width,
        state_dims=(dims["text"], dims["audio"], dims["vision"]),
        measurements=settings["measurement_size"],
        out_dim=settings["output_cell_dim"],
        subnet_dropouts=(0.0, 0.0, 0.0),
        out_dropout=0.0,
        **reference_form("qmf"),
    )


def _outputs(model: QMF, out: dict[str, Any]) -> dict[str, Any]:
    pred = out["pred"] if model.spec.classes else out["pred"][:, None]
    found = {"output": pred, "pooled": out["fusion"]}
    for m in MODALITIES:
        found |= {f"{kind}/{m}": out[f"{kind}_{m}"] for kind in ("amplitude", "state")}
        found[f"norm/{m}"] = out[f"norm_{m}"][..., None]
    # Vision comes before audio there.
    joint = np.swapaxes(out["joint"], 3, 4)
    found["joint_state"] = joint.reshape(*joint.shape[:2], -1, 2)
    if model.mixture == "global":
        found["probability"] = out["fusion"]
        found["weight"] = out["weight"][..., None]
        for m in MODALITIES:
            found[f"word_weight/{m}"] = out[f"weight_{m}"][..., None]
        return found
    for n in model.windows:
        weight = np.swapaxes(out[f"weight_{n}"], 1, 2)
        found[f"window_weight/{n}"] = weight[..., None]
        found[f"probability/{n}"] = out[f"probability_{n}"]
    return found
