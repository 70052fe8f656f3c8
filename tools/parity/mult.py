"""MulT of thuiar/MMSA; the names are those of yaohungt/Multimodal-Transformer too."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from msajax.models.base import Batch
from msajax.models.mult import MulT
from msajax.nn.transformer import CrossmodalEncoder
from msajax.weights import reference_form, template
from msajax.weights.mult import encoders, table, unused
from tools.parity.case import Case
from tools.parity.replay import Run, padded_batch, run, spec_of


def reproduce(case: Case) -> dict[str, Any]:
    """The case's results as our module gives them, for each set of inputs, masked and not.

    'loss/total' and 'grad/...' are those of the unaligned, masked variant.
    """
    inputs = [
        name.removesuffix("/text")
        for name in case.group("in/")
        if name.endswith("/text")
    ]
    main = "unaligned" if "unaligned" in inputs else next(iter(inputs), "unaligned")
    batch = _batch(case, main)
    model = _model(case, batch, causal=True)
    variables = table(model).variables(
        case.group("param/"), template(model, batch, train=False)
    )
    results: dict[str, Any] = {}
    for name in inputs:
        for suffix in ("", "_nomask"):
            variant = f"{name}{suffix}"
            if case.expects(f"out/{variant}/"):
                batch = _batch(case, name)
                model = _model(case, batch, causal=not suffix)
                result = run(
                    model,
                    variables,
                    batch,
                    differentiate=variant == main,
                    capture=CrossmodalEncoder,
                )
                results |= _forward(variant, result)
                if variant == main:
                    results |= _backward(case, model, result)
    return results


def _forward(variant: str, result: Run) -> dict[str, Any]:
    results = {f"out/{variant}/{k}": v for k, v in result.features.items()}
    for torch, ours in encoders():
        (encoded,) = result.collections["intermediates"][ours]["__call__"]
        results[f"out/{variant}/{torch}"] = jnp.swapaxes(encoded, 0, 1)
    return results | {f"loss/{variant}": result.loss}


def _backward(case: Case, model: MulT, result: Run) -> dict[str, Any]:
    gradients = table(model).arrays({"params": result.gradients})
    # What the reference does not use has a gradient of zero.
    for name in unused(model):
        gradients[name] = np.zeros_like(case.arrays[f"param/{name}"])
    return {
        "loss/total": result.loss,
        **{f"grad/{name}": array for name, array in gradients.items()},
    }


def _batch(case: Case, name: str) -> Batch:
    arrays = case.group(f"in/{name}/")
    return padded_batch(
        arrays["text"], arrays["audio"], arrays["vision"], case.arrays["in/labels"]
    )


def _model(case: Case, batch: Batch, *, causal: bool) -> MulT:
    dim, heads = case.setting("dst_feature_dim_nheads")
    outputs = len(case.arrays["param/out_layer.bias"])
    return MulT(
        spec_of(batch, outputs),
        dim=dim,
        heads=heads,
        layers=case.setting("nlevels"),
        kernel_sizes=tuple(case.setting(f"conv1d_kernel_size_{x}") for x in "lav"),
        causal=causal and bool(np.any(case.setting("attn_mask"))),
        text_dropout=0.0,
        attention_dropouts=(0.0, 0.0, 0.0),
        relu_dropout=0.0,
        residual_dropout=0.0,
        embed_dropout=0.0,
        output_dropout=0.0,
        **reference_form("mult"),
    )
