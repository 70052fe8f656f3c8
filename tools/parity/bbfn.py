"""BBFN of declare-lab/BBFN: on BERT and on words of its own."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from msajax.data.spec import Spec
from msajax.encoders.bert import BertConfig
from msajax.models.base import Batch
from msajax.models.bbfn import BBFN, OTHERS
from msajax.nn.attention import masked_softmax
from msajax.nn.linear import Linear
from msajax.weights import reference_form, template
from msajax.weights.bbfn import _LETTERS, table
from tools.parity.case import Case
from tools.parity.replay import padded_batch, run


def reproduce(case: Case) -> dict[str, Any]:
    """The case's results as our module gives them, for each of its two models."""
    found = {}
    for name, batch in (("bert", _pieces), ("glove", _words)):
        if case.expects(f"out/{name}/"):
            for key, x in _model_results(case, name, batch(case)).items():
                kind, _, rest = key.partition("/")
                found[f"{kind}/{name}/{rest}"] = x
    return found


def _model_results(case: Case, name: str, batch: Batch) -> dict[str, Any]:
    model = _model(case, name, batch)
    rules = table(model)
    state = case.group(f"param/{name}.")
    variables = rules.variables(state, template(model, batch, train=False))
    result = run(model, variables, batch, capture=(Linear, nn.LayerNorm))
    seen = result.collections["intermediates"]
    (out,) = seen["__call__"]
    found = {"out/logits" if model.spec.classes else "out/M": out["pred"]}
    for m, letter in _LETTERS.items():
        found[f"out/seq_{letter}"] = jnp.swapaxes(out[f"steps_{m}"], 0, 1)
        found[f"out/h_{letter}"] = out[f"vector_{m}"]
    for m in OTHERS:
        place, params = f"out/l{m[0]}", variables["params"][f"text_{m}"]["first"]
        text, other = jnp.moveaxis(out[f"stream_{m}"], (1, 2), (0, 1))
        found |= {f"{place}/other2l": text, f"{place}/l2other": other}
        for i in range(model.layers):
            control = out[f"control_{m}"][:, i]
            found[f"{place}/layer{i}/enc_l"] = control[:, 0]
            found[f"{place}/layer{i}/enc_o"] = control[:, 1]
        layer, weights = seen[f"text_{m}"]["first"], params["text_attention"]
        (gate,) = layer["text_keep_gate"]["__call__"]
        found[f"{place}/layer0/o2l_mem_gate"] = nn.sigmoid(gate)
        norms = layer["text_attention_norm"]["__call__"]
        found[f"{place}/layer0/o2l_attention"] = _attention(norms, weights, batch)
    scores = [out[f"score_{m}"] for m in OTHERS]  # [B, layers, 2] each
    scores = jnp.concatenate([jnp.moveaxis(x, 0, 2).reshape(-1) for x in scores])
    found["out/disc_pred"] = nn.sigmoid(scores)
    rows = len(batch["label"])
    found["out/disc_true"] = np.tile(np.repeat([0, 1], rows), 2 * model.layers)
    gradients = rules.arrays({"params": result.gradients})
    return {
        **found,
        "loss/task": result.terms["task"],
        "loss/disc": result.terms["discrimination"],
        "loss/total": result.loss,
        **{f"grad/{k}": x for k, x in gradients.items()},
    }


def _attention(norms: Any, params: Any, batch: Batch) -> jax.Array:
    """Attention weights, averaged over the heads, zero on padding: [B, L, L]."""
    kernel, bias = params["kernel"], params["bias"]  # [D, 3, H, E], [3, H, E]
    q, k = (
        jnp.einsum("bld,dhe->blhe", x, kernel[:, i]) + bias[i][None, None]
        for i, x in enumerate(norms)
    )
    scores = jnp.einsum("bqhe,bkhe->bhqk", q, k) * q.shape[-1] ** -0.5
    mask = batch["text_mask"]
    weights = masked_softmax(scores, mask[:, None, None] & mask[:, None, :, None])
    return jnp.mean(weights, axis=1)


def _pieces(case: Case) -> Batch:
    """Word pieces; audio and vision have a frame of zeros at both ends, for [CLS] and [SEP]."""
    ids, mask, segments = np.moveaxis(case.arrays["in/text_bert"], 1, 0).astype("int32")
    frames = ((0, 0), (1, 1), (0, 0))
    audio, vision = (np.pad(x, frames) for x in _frames(case))
    label = case.arrays["in/labels_bert"]
    return _batch(ids, segments, mask > 0, audio, vision, label)


def _words(case: Case) -> Batch:
    ids = np.swapaxes(case.arrays["in/words"], 0, 1).astype("int32")
    mask = np.arange(ids.shape[1]) < case.arrays["in/lengths"][:, None]
    label = case.arrays["in/labels_glove"].astype("int32")
    audio, vision = _frames(case)
    return _batch(ids, 0 * ids, mask, audio, vision, label)


def _frames(case: Case) -> list[np.ndarray]:
    return [np.swapaxes(case.arrays[f"in/{m}"], 0, 1) for m in ("audio", "vision")]


def _batch(ids, segments, mask, audio, vision, label) -> Batch:
    text = np.zeros((*ids.shape, 1), np.float32)  # no features: only its length counts
    batch = padded_batch(text, audio, vision, label)
    masks = dict.fromkeys(("text_mask", "audio_mask", "vision_mask"), jnp.asarray(mask))
    pieces = dict(text_ids=jnp.asarray(ids), text_type=jnp.asarray(segments))
    return {**batch, **masks, **pieces}


def _model(case: Case, name: str, batch: Batch) -> BBFN:
    state = case.group(f"param/{name}.")
    length = batch["text"].shape[1]
    dims = (1, batch["audio"].shape[2], batch["vision"].shape[2])
    outputs = len(state["out_layer.bias"])
    classes = tuple(map(str, range(outputs))) if outputs > 1 else ()
    words = state.get("embedding.embed.weight", np.zeros((0, 1)))
    scores = None if classes else (-3.0, 3.0)
    spec = Spec(
        dims,
        (length, length, length),
        len(batch["label"]),
        scores,
        classes,
        vocabulary=len(words),
    )
    kernels = case.setting("cnn kernels l,a,v")
    return BBFN(
        spec,
        encoder=None if len(words) else BertConfig.read(case.setting("bert")),
        dim=case.setting("attn_dim"),
        heads=case.setting("num_heads"),
        layers=case.setting("layers"),
        projection=case.setting(f"{name}.proj_type"),
        kernel_sizes=tuple(kernels),
        word_dim=words.shape[1],
        attention_dropout=0.0,
        relu_dropout=0.0,
        residual_dropout=0.0,
        discrimination=case.setting("lambda_d"),
        **reference_form("bbfn"),
    )
