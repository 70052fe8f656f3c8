"""The parts of LeMei/UniMSE beside T5, as its T5 calls them; see `t5` for that."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from msajax.models.unimse.adapters import Adapter
from msajax.models.unimse.system import Contrast, Signal
from msajax.weights import template
from msajax.weights.unimse_adapter import table
from tools.parity.case import Case
from tools.parity.replay import COMPILER


class _Parts(nn.Module):
    """Two adapters, both LSTMs, and the contrasts of text and signals in two orders of rows."""

    dims: tuple[int, int]  # of the vectors of vision and audio
    hidden: int
    bottleneck: int
    compared: int
    temperature: float

    @nn.compact
    def __call__(self, given, lengths, orders):
        out: dict[str, Any] = {}
        vectors, steps = [], {}
        names = ("visual", "acoustic"), ("vision", "audio"), self.dims
        for theirs, ours, dim in zip(*names, strict=True):
            x = jnp.swapaxes(given[theirs], 0, 1)  # time is first there
            mask = jnp.arange(x.shape[1])[None] < lengths[theirs][:, None]
            signal = Signal(self.hidden, dim, 0.0, name=ours)
            vector, steps[theirs] = signal(x, mask, train=False)
            vectors.append(vector)
            out[theirs] = vector
            out[f"{theirs}_seq_ordered"] = steps[theirs]
            out[f"{theirs}_seq"] = steps[theirs][orders[theirs]]
        h = given["hidden"]
        for name in ("adapter", "parallel"):
            own = self.bottleneck, False, name == "parallel"
            adapter = Adapter(*own, name=name)
            out[f"{name}_output"] = adapter(h, given["ffn_input"], vectors=vectors)
        contrast = Contrast(self.compared, self.temperature, name="contrast")
        rows = jnp.ones(len(h), bool)
        losses = {}
        for name, x in out.items():
            if "_seq" in name:
                value = contrast(jnp.mean(h, axis=1), jnp.mean(x, axis=1), rows)
                ending = "_ordered" if name.endswith("_ordered") else ""
                losses[f"t{name[0]}{ending}"] = jnp.mean(value)
        return out, losses


def reproduce(case: Case) -> dict[str, Any]:
    """The case's results as our modules give them."""
    inputs = case.group("in/")
    names = ("hidden", "ffn_input", "visual", "acoustic")
    given = {name: jnp.asarray(inputs[name]) for name in names}
    lengths = {k: jnp.asarray(inputs[f"{k[0]}_len"]) for k in ("visual", "acoustic")}
    args = lengths, {name: _twice(inputs[f"{name[0]}_len"]) for name in lengths}
    parts = _Parts(
        dims=(case.setting("d_vout"), case.setting("d_aout")),
        hidden=case.setting("d_vh"),
        bottleneck=case.setting("adapter_size"),
        compared=case.setting("info projection"),
        temperature=case.setting("temperature"),
    )
    rules = table(parts)
    shapes = template(parts, given, *args)
    variables = rules.variables(case.group("param/"), shapes)

    def total(params, given):
        apply: Callable[..., Any] = parts.apply
        out, terms = apply({"params": params}, given, *args)
        loss = 0.5 * terms["tv"] + 0.5 * terms["ta"]
        for name in ("adapter", "parallel"):
            loss += jnp.sum(inputs[f"cotangent_{name}"] * out[f"{name}_output"])
        return loss, (out, terms)

    grad = jax.value_and_grad(total, argnums=(0, 1), has_aux=True)
    run = jax.jit(grad, compiler_options=COMPILER)
    (loss, (out, terms)), (gradients, moved) = run(variables["params"], given)
    compared = variables["params"]["contrast"]
    return {
        **{f"out/{name}": x for name, x in out.items()},
        "out/info_query": jnp.mean(given["hidden"], 1) @ compared["query"]["kernel"],
        "out/info_positive_visual": jnp.mean(out["visual_seq"], axis=1)
        @ compared["positive"]["kernel"],
        **{f"loss/{name}": x for name, x in terms.items()},
        "loss/total": loss,
        **{f"grad/{k}": x for k, x in rules.arrays({"params": gradients}).items()},
        **{f"grad_in/{name}": x for name, x in moved.items()},
    }


def _twice(lengths: np.ndarray) -> np.ndarray:
    """The rows that stand in each place once the order by lengths is undone a second time."""
    return np.argsort(np.argsort(-lengths, kind="stable"), kind="stable")
