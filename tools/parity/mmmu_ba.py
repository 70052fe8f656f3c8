"""MMMU-BA: the attention (thuiar/Cross-Modal-BERT), and a public port over utterances and over frames."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from msajax import losses
from msajax.models.mmmu_ba import Contextual
from msajax.nn.bimodal import attend_pair
from msajax.nn.linear import Linear
from msajax.nn.pooling import mean_pool
from msajax.weights import reference_form, template
from msajax.weights.mmmu_ba import table
from tools.parity.case import Case

_NAMES = {"Text": "text", "Audio": "audio", "Video": "vision"}


class _Labelled(nn.Module):
    """The network, and a prediction for each utterance or frame."""

    hidden_dims: tuple[int, int, int]
    dim: int
    classes: int

    @nn.compact
    def __call__(self, x: Any, masks: Any) -> dict[str, jax.Array]:
        form = reference_form("mmmu_ba")
        network = Contextual(self.hidden_dims, self.dim, **form)
        nn.share_scope(self, network)
        parts = [part for _, part in network(x, masks, train=False)]
        found = {"concat": jnp.concatenate(parts, axis=-1)}
        for i, pair in enumerate(("AV", "VT", "TA")):
            both = jnp.concatenate(parts[2 * i : 2 * i + 2], axis=-1)
            found[f"pair_{pair}"] = both
        return found | {"logits": Linear(self.classes, name="head")(found["concat"])}


def reproduce(case: Case) -> dict[str, Any]:
    """The case's results as our modules give them."""
    results = _pair(case) if case.expects("out/pair/") else {}
    for level in ("dialogue", "frames"):
        if case.expects(f"out/{level}/"):
            results |= _labelled(case, level)
    return results


def _pair(case: Case) -> dict[str, Any]:
    inputs = case.group("in/pair/")

    def loss_of(x, y):
        a1, a2 = attend_pair(x, y)
        total = jnp.sum(a1 * inputs["cotangent1"]) + jnp.sum(a2 * inputs["cotangent2"])
        return total, (a1, a2)

    compute = jax.value_and_grad(loss_of, argnums=(0, 1), has_aux=True)
    (loss, pair), gradients = jax.jit(compute)(inputs["x"], inputs["y"])
    return {
        "loss/pair": loss,
        **{f"out/pair/a{i}": a for i, a in enumerate(pair, 1)},
        **{f"grad_in/pair/{k}": g for k, g in zip("xy", gradients, strict=True)},
    }


def _labelled(case: Case, level: str) -> dict[str, Any]:
    inputs, params = case.group(f"in/{level}/"), case.group(f"param/{level}.")
    lengths, labels = inputs["lengths"], inputs["labels"]
    x = {ours: np.swapaxes(inputs[name], 0, 1) for name, ours in _NAMES.items()}
    steps = next(iter(x.values())).shape[1]
    mask = np.arange(steps)[None] < lengths[:, None]
    if level == "dialogue":  # one row, whose steps are the utterances
        real = jnp.asarray(mask)
        x = {m: mean_pool(jnp.asarray(v), real)[None] for m, v in x.items()}
        mask = np.ones((1, len(lengths)), bool)
    hidden = [params[f"rnn.{name}.weight_hh_l0"].shape[1] for name in _NAMES]
    classes, width = params["clf.weight"].shape
    model: Any = _Labelled((hidden[0], hidden[1], hidden[2]), width // 9, classes)
    masks = dict.fromkeys(x, mask)
    names = table(model)
    variables = names.variables(params, template(model, x, masks))

    def loss_of(params):
        out = model.apply({"params": params}, x, masks)
        rows = out["logits"][mask]
        return jnp.mean(losses.cross_entropy(rows, jnp.asarray(labels))), out

    compute = jax.jit(jax.value_and_grad(loss_of, has_aux=True))
    (loss, out), gradients = compute(variables["params"])
    arrays = names.arrays({"params": gradients})
    return {
        **{f"out/{level}/{k}": v for k, v in out.items()},
        f"out/{level}/logits": out["logits"][mask],
        f"loss/{level}/total": loss,
        **{f"grad/{level}/{k}": v for k, v in arrays.items()},
    }
