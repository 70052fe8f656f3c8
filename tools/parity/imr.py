"""IMR of martinmamql/multimodal_routing, with the losses of its three data sets."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from msajax import losses
from msajax.models.imr import CAPSULES, IMR
from msajax.weights import reference_form, template
from msajax.weights.imr import table
from tools.parity.case import Case
from tools.parity.replay import COMPILER, padded_batch, spec_of

_FEATURES = dict(zip(("t", "a", "v", "ta", "av", "vt", "tav"), CAPSULES, strict=True))


def reproduce(case: Case) -> dict[str, Any]:
    """The case's results as our module gives them, for each data set."""
    results: dict[str, Any] = {}
    for name in ("mosei_senti", "iemocap", "mosei_emo"):
        if case.expects(f"loss/{name}/"):
            results |= _variant(case, name)
    return results


def _variant(case: Case, name: str) -> dict[str, Any]:
    inputs, params = case.group("in/"), case.group(f"param/{name}.")
    scores = name == "mosei_senti"
    labels = inputs[f"labels_{name}"]
    own = labels if scores else np.zeros(len(labels), np.float32)
    batch = padded_batch(inputs["text"], inputs["audio"], inputs["vision"], own)
    model = _model(case, name, batch, 1 if scores else len(params["embedding"]))
    variables = table(model).variables(params, template(model, batch, train=False))

    def loss_of(params):
        out: Any = model.apply({"params": params}, batch, train=False)
        if scores:
            options: dict = dict(train=False, progress={}, method="loss")
            loss: Any = model.apply({"params": params}, batch, **options)
            return loss[0], out
        if name == "iemocap":
            pairs = out["logits"].reshape(-1, 2)
            own = jnp.asarray(labels, jnp.int32).reshape(-1)
            return jnp.mean(losses.cross_entropy(pairs, own)), out
        values = optax.sigmoid_binary_cross_entropy(out["logits"], labels > 0)
        return jnp.mean(values), out

    compute = jax.jit(
        jax.value_and_grad(loss_of, has_aux=True), compiler_options=COMPILER
    )
    (loss, out), gradients = compute(variables["params"])
    found = {
        "logits": out["logits"],
        "activation": out["activation"],
        "pose": out["pose"],
        "routing_coefficient": out["routing"][:, -1],
        "routing_per_iteration": jnp.swapaxes(out["routing"], 0, 1),
        "concept_pose_per_iteration": jnp.swapaxes(out["concepts"], 0, 1),
        "weighted_score": out["pred"],
        **{f"feature_{k}": out["features"][v] for k, v in _FEATURES.items()},
    }
    arrays = table(model).arrays({"params": gradients})
    return {
        **{f"out/{name}/{key}": value for key, value in found.items()},
        **{f"grad/{name}/{key}": value for key, value in arrays.items()},
        f"loss/{name}/total": loss,
    }


def _model(case: Case, name: str, batch: dict, outputs: int) -> IMR:
    settings = case.setting(name)
    layers = "self_transformer_layers (at least transformer_layers)"
    return IMR(
        spec_of(batch, outputs),
        dim=settings["d_mult"],
        heads=settings["num_heads"],
        layers=settings["transformer_layers"],
        self_layers=settings[layers],
        pose_dim=settings["pc_dim"],
        concept_dim=settings["mc_caps_dim"],
        routings=settings["num_routing"],
        causal=case.setting("attn_mask"),
        concept_dropout=0.0,
        remat=False,
        **reference_form("imr"),
    )
