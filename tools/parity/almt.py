"""ALMT of Haoyu-ha/ALMT.

Its cases also hold what never reaches the prediction (steps behind the tokens, the
target of the fusion): that is computed here, from our blocks.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np

from msajax.encoders.bert import Bert, BertConfig
from msajax.models.almt import ALMT
from msajax.models.base import Batch
from msajax.nn.ahl import AHL, AHLLayer
from msajax.nn.linear import Linear
from msajax.nn.token_transformer import PreNormEncoder, TokenTransformer
from msajax.weights import reference_form, template
from msajax.weights.almt import _LETTERS, table
from tools.parity.case import Case
from tools.parity.replay import Run, padded_batch, run, spec_of


def reproduce(case: Case) -> dict[str, Any]:
    """The case's results as our module gives them."""
    batch = _batch(case)
    model = _model(case, batch)
    rules = table(model)
    variables = rules.variables(
        case.group("param/"), template(model, batch, train=False)
    )
    capture = (AHL, AHLLayer, Bert, Linear)
    result = run(model, variables, batch, capture=capture)
    found = result.collections["intermediates"]
    ((hyper, scales),) = found["ahl"]["__call__"]
    gradients = rules.arrays({"params": result.gradients})
    return {
        "out/M": result.features["M"],
        "out/bert_last_hidden": found["encoder"]["__call__"][0].last,
        **{f"out/l_encoder/{i}": scale for i, scale in enumerate(scales)},
        **{
            f"out/ahl_layer_{i}": found["ahl"][f"layer_{i}"]["__call__"][0]
            for i in range(model.ahl_layers)
        },
        "out/h_hyper": hyper,
        "loss/total": result.loss,
        **{f"grad/{name}": array for name, array in gradients.items()},
        **_unread(case, model, variables["params"], result),
    }


def _unread(case: Case, model: ALMT, params: Any, result: Run) -> dict[str, Any]:
    """Whole sequences of which the prediction reads the first steps alone."""
    found, results = result.collections["intermediates"], {}
    for i, (letter, modality) in enumerate(_LETTERS.items()):
        (x,) = found[f"project_{modality}"]["__call__"]
        transformer = TokenTransformer(
            model.tokens,
            model.spec.lengths[i],
            layers=model.embedding_layers,
            heads=model.embedding_heads,
            mlp_dim=model.embedding_mlp_dim,
            head_dim=model.head_dim,
        )
        variables = {"params": params[f"embed_{modality}"]}
        mask = jnp.ones(x.shape[:2], bool)
        results[f"out/proj_{letter}"] = transformer.apply(
            variables, x, mask, whole=True
        )
    ((hyper, scales),) = found["ahl"]["__call__"]
    fusion = params["fusion"]
    token = jnp.broadcast_to(fusion["token"][None], (len(hyper), 1, model.dim))
    source = jnp.concatenate([token, hyper], 1) + fusion["source_positions"][None]
    target = jnp.concatenate([token, scales[-1]], 1)
    target += case.arrays["param/fusion_layer.pos_embedding_t"]
    encoder = PreNormEncoder(
        *(model.fusion_layers, model.fusion_heads, model.fusion_mlp_dim, model.head_dim)
    )
    mask = jnp.ones(source.shape[:2], bool)
    hidden: Any = encoder.apply(
        {"params": fusion["encoder"]}, target, source, mask=mask
    )
    return results | {"out/fusion": hidden[-1]}


def _batch(case: Case) -> Batch:
    """The inputs; the authors hide padding from BERT alone."""
    inputs = case.group("in/")
    ids, mask, segments = np.moveaxis(inputs["text_bert"], 1, 0).astype(np.int32)
    text = np.zeros((*ids.shape, 1), np.float32)  # no features: only its length counts
    batch = padded_batch(text, inputs["audio"], inputs["vision"], inputs["labels"])
    pieces = dict(text_ids=ids, text_type=segments, text_mask=mask > 0)
    return batch | {name: jnp.asarray(array) for name, array in pieces.items()}


def _model(case: Case, batch: Batch) -> ALMT:
    outputs = len(case.arrays["param/regression_layer.0.bias"])
    return ALMT(
        spec_of(batch, outputs),
        encoder=BertConfig.read(case.setting("bert")),
        dim=case.setting("token_dim"),
        tokens=case.setting("token_len"),
        embedding_layers=case.setting("proj_depth"),
        embedding_heads=case.setting("proj_heads"),
        embedding_mlp_dim=case.setting("proj_mlp_dim"),
        text_heads=case.setting("l_enc_heads"),
        text_mlp_dim=case.setting("l_enc_mlp_dim"),
        ahl_layers=case.setting("AHL_depth"),
        ahl_heads=case.setting("ahl_heads"),
        ahl_head_dim=case.setting("ahl_dim_head"),
        fusion_layers=case.setting("fusion_layer_depth"),
        fusion_heads=case.setting("fusion_heads"),
        fusion_mlp_dim=case.setting("fusion_mlp_dim"),
        **reference_form("almt"),
    )
