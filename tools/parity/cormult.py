"""CorMulT of YAMY1234/CorMulT, whose cases hold two networks: 'mce' and 'mult'."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from msajax.data.spec import MODALITIES
from msajax.models.base import Batch
from msajax.models.cormult.perturb import Sequences
from msajax.models.cormult.system import CorMulT
from msajax.nn.linear import Linear
from msajax.nn.positions import position_vectors
from msajax.nn.transformer import CrossmodalEncoder
from msajax.weights import mult, reference_form, template
from msajax.weights.cormult import table
from msajax.weights.table import Table
from tools.parity.case import Case
from tools.parity.replay import COMPILER, padded_batch, spec_of

_LETTERS = dict(zip("TAV", MODALITIES, strict=True))


_OURS = {modality: letter for letter, modality in _LETTERS.items()}


def reproduce(case: Case) -> dict[str, Any]:
    """The case's results as our module gives them."""
    batch = _batch(case)
    model = _model(case, batch)
    names = table(model, "mce.", "mult.")
    variables = names.variables(
        case.group("param/"), template(model, batch, train=False)
    )
    results = _evaluator(case, model, names, variables, batch)
    results |= _network(case, model, names, variables, batch)
    if case.expects("out/mult/position_of_raw_text"):
        x = jnp.broadcast_to(
            batch["text"][..., :1], (*batch["text"].shape[:2], model.dim)
        )
        vectors = position_vectors(x, fairseq_zero_pos=False, counted_pos=True)
        results["out/mult/position_of_raw_text"] = vectors
    return results


def _captured(module: Any, method: str) -> bool:
    """The outputs of the evaluator's last layers and of MulT's encoders."""
    inner = isinstance(module, CrossmodalEncoder | Linear) or module.name is None
    return method == "__call__" and inner


def _evaluator(
    case: Case, model: CorMulT, names: Table, variables: Any, batch: Batch
) -> dict[str, Any]:
    def loss_of(params, negatives):
        (loss, terms), state = model.apply(
            {"params": params},
            batch,
            negatives,
            train=False,
            method="loss_of_negatives",
            mutable=["intermediates"],
            capture_intermediates=_captured,
        )
        return loss, (terms, state["intermediates"]["mce"])

    run = jax.jit(jax.value_and_grad(loss_of, has_aux=True), compiler_options=COMPILER)
    results: dict[str, Any] = {}
    for folder, prefix in (("mce", "neg"), ("mce_strategyA", "negA")):
        x = {
            m: jnp.asarray(case.arrays.get(f"in/{prefix}_{m}", batch[m]))
            for m in MODALITIES
        }
        masks = {m: batch[f"{m}_mask"] for m in MODALITIES}
        (loss, (terms, found)), gradients = run(
            variables["params"], Sequences(x, masks)
        )
        results[f"loss/{folder}/total"] = loss
        for name, value in terms.items():
            anchor, other = (_OURS[m] for m in name.split("_"))
            results[f"loss/{folder}/{anchor}_{other}"] = value
        if folder == "mce":
            arrays = names.arrays({"params": gradients})
            results |= {f"grad/{k}": v for k, v in arrays.items() if k[:4] == "mce."}
            results |= _features(found, len(batch["label"]))
    return results


def _features(found: Any, rows: int) -> dict[str, Any]:
    """Outputs of the last layers: those of the samples, then those of the negatives."""
    results = {}
    for m, letter in _OURS.items():
        (f,) = found[f"network_{m}"]["out"]["__call__"]
        results[f"out/mce/F_{letter}"] = f[:rows]
        results[f"out/mce/neg_F_{letter}"] = f[rows:]
    return results


def _network(
    case: Case, model: CorMulT, names: Table, variables: Any, batch: Batch
) -> dict[str, Any]:
    def loss_of(params, model):
        (loss, _), state = model.apply(
            {"params": params},
            batch,
            train=False,
            progress={},
            method="loss",
            mutable=["intermediates"],
            capture_intermediates=_captured,
        )
        return loss, state["intermediates"]

    def run(model):
        forward = jax.value_and_grad(lambda p: loss_of(p, model), has_aux=True)
        return jax.jit(forward, compiler_options=COMPILER)(variables["params"])

    results: dict[str, Any] = {}
    (loss, found), gradients = run(model)
    out = _forward(model, variables, batch)
    results |= _outputs("mult", out)
    weighed = []
    for torch, ours in mult.encoders():
        (encoded,) = found["mult"][ours]["__call__"]
        results[f"out/mult/{torch}"] = jnp.swapaxes(encoded, 0, 1)
        if ours.endswith("_to_text"):
            cor = out[f"cor_text_{ours.split('_')[0]}"]
            scale = 1 + cor if model.weighting == "residual" else cor
            weighed.append(encoded * scale[:, None, None])
    memory = jnp.concatenate(weighed, axis=-1)
    results["out/mult/trans_l_mem_input"] = jnp.swapaxes(memory, 0, 1)
    results["loss/mult/total"] = loss
    arrays = names.arrays({"params": gradients})
    results |= {f"grad/{k}": v for k, v in arrays.items() if k[:5] == "mult."}
    for name in mult.unused(model):  # has a gradient of zero in the reference
        results[f"grad/mult.{name}"] = np.zeros_like(case.arrays[f"param/mult.{name}"])
    params = {"mult": variables["params"]["mult"]}
    plain = _forward(model.clone(correlated=()), {"params": params}, batch)
    return results | _outputs("mult_no_correlation", plain)


def _forward(model: CorMulT, variables: Any, batch: Batch) -> dict[str, Any]:
    forward = jax.jit(
        lambda v: model.apply(v, batch, train=False), compiler_options=COMPILER
    )
    return forward(variables)


def _outputs(folder: str, out: dict[str, Any]) -> dict[str, Any]:
    results = {f"out/{folder}/M": out["out"], f"out/{folder}/last_hs": out["fusion"]}
    for a, b in itertools.combinations(MODALITIES, 2):
        if (cor := out.get(f"cor_{a}_{b}")) is not None:
            results[f"out/{folder}/Cor_{_OURS[a]}{_OURS[b]}"] = cor
            results[f"out/mce/Cor_{_OURS[a]}{_OURS[b]}"] = cor
    return results


def _batch(case: Case) -> Batch:
    arrays = case.group("in/")
    return padded_batch(
        arrays["text"], arrays["audio"], arrays["vision"], arrays["labels"]
    )


def _model(case: Case, batch: Batch) -> CorMulT:
    mce, network = case.setting("mce"), case.setting("mult")
    dim = next(value for key, value in network.items() if key.startswith("d_l"))
    mode = str(network.get("cor_mode", "residual"))
    return CorMulT(
        spec_of(batch, case.arrays["param/mult.out_layer.bias"].size),
        margin=mce["margin"],
        mce_dim=mce["d_model"],
        mce_heads=mce["num_heads"],
        mce_layers=mce["num_layers"],
        mce_hidden=mce["dim_feedforward"],
        mce_dropout=0.0,
        mce_out=mce["out_dim"],
        weighting=mode.split()[0],
        dim=dim,
        heads=network["num_heads"],
        layers=network["layers"],
        causal=bool(network["attn_mask"]),
        text_dropout=0.0,
        attention_dropouts=(0.0, 0.0, 0.0),
        relu_dropout=0.0,
        residual_dropout=0.0,
        embed_dropout=0.0,
        **reference_form("cormult"),
    )
