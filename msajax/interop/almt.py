"""ALMT of Haoyu-ha/ALMT.

Its cases also hold what never reaches the prediction (steps behind the tokens, the
target of the fusion): that is computed here, from our blocks.
"""

from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np

from msajax.data.spec import MODALITIES
from msajax.interop import bert, blocks
from msajax.interop.case import Case
from msajax.interop.replay import Run, padded_batch, run, spec_of, template
from msajax.interop.table import Rule, Table, copy
from msajax.models.almt import ALMT
from msajax.models.base import Batch
from msajax.nn.ahl import AHL, AHLLayer
from msajax.nn.bert import Bert, BertConfig
from msajax.nn.linear import Linear
from msajax.nn.token_transformer import PreNormEncoder, TokenTransformer

_BERT = "bertmodel.model."
_LETTERS = dict(zip("lav", MODALITIES, strict=True))


def table(model: ALMT) -> Table:
    """The names of the authors."""
    return Table(
        rules=tuple(_rules(model)),
        ignored=(_BERT.replace(".", r"\.") + rf"(pooler\..*|{bert.BUFFERS})",),
    )


def _rules(model: ALMT) -> Iterator[Rule]:
    if not isinstance(model.encoder, BertConfig):
        raise ValueError(
            "ALMT's authors save it with its BERT; build the model with encoder=BertConfig(...)"
        )
    yield from bert.rules(model.encoder.encoder(pooler=False), _BERT, "encoder/")
    for letter, modality in _LETTERS.items():
        torch, ours = f"proj_{letter}", f"embed_{modality}"
        yield from blocks.linear(f"{torch}.0", f"project_{modality}")
        yield _row(f"{torch}.1.extra_token", f"{ours}/tokens")
        yield _row(f"{torch}.1.pos_embedding", f"{ours}/positions")
        names = f"{torch}.1.encoder", f"{ours}/encoder"
        shape = model.dim, model.embedding_heads, model.head_dim
        yield from _encoder(*names, model.embedding_layers, shape)
    yield from _ahl(model)
    yield _row("fusion_layer.extra_token", "fusion/token")
    yield _row("fusion_layer.pos_embedding_s", "fusion/source_positions")
    yield copy(  # the target's steps behind the token have no influence
        "fusion_layer.pos_embedding_t",
        "params/fusion/position",
        lambda array: array[0, :1],
        lambda leaf: np.pad(leaf, ((0, model.tokens), (0, 0)))[None],
    )
    names = "fusion_layer.CrossTransformerEncoder", "fusion/encoder"
    shape = model.dim, model.fusion_heads, model.head_dim
    yield from _encoder(*names, model.fusion_layers, shape)
    yield from blocks.linear("regression_layer.0", "head")


def _ahl(model: ALMT) -> Iterator[Rule]:
    yield _row("h_hyper", "ahl/hyper")
    yield _row("l_encoder.pos_embedding", "ahl/positions")
    names = "l_encoder.encoder", "ahl/text_encoder"
    shape = model.dim, model.text_heads, model.head_dim
    yield from _encoder(*names, model.ahl_layers - 1, shape)
    for i in range(model.ahl_layers):
        torch, ours = f"h_hyper_layer.layers.{i}.0", f"ahl/layer_{i}"
        for j, name in enumerate(("text", "audio", "vision", "hyper"), start=1):
            yield from blocks.layer_norm(f"{torch}.norm{j}", f"{ours}/{name}_norm")
        torch = f"{torch}.fn"
        yield _joined(f"{ours}/text", f"{torch}.to_q")
        yield _joined(f"{ours}/audio", f"{torch}.to_k_ta", f"{torch}.to_v_ta")
        yield _joined(f"{ours}/vision", f"{torch}.to_k_tv", f"{torch}.to_v_tv")
        yield from _out(torch, ours, (model.dim, model.ahl_heads, model.ahl_head_dim))


def _encoder(
    torch: str, ours: str, layers: int, shape: tuple[int, int, int]
) -> Iterator[Rule]:
    """Their TransformerEncoder to `PreNormEncoder`, whose kernels have this shape [D, H, E]."""

    def read(weight):  # [H E, D] -> [D, H, E]
        return weight.T.reshape(-1, *shape[1:])

    def write(kernel):
        return kernel.reshape(len(kernel), -1).T

    for i in range(layers):
        attention, feed_forward = (f"{torch}.layers.{i}.{j}" for j in (0, 1))
        leaf = f"{ours}/attention_{i}"
        for name in ("query", "key", "value"):
            letter = name[0]
            yield from blocks.layer_norm(
                f"{attention}.norm_{letter}", f"{leaf}/{name}_norm"
            )
            torch_name = f"{attention}.fn.to_{letter}.weight"
            yield copy(torch_name, f"params/{leaf}/{name}", read, write)
        yield from _out(f"{attention}.fn", leaf, shape)
        yield from blocks.layer_norm(f"{feed_forward}.norm", f"{ours}/norm_{i}")
        for j, fc in ((0, "fc1"), (3, "fc2")):
            yield from blocks.linear(f"{feed_forward}.fn.net.{j}", f"{ours}/{fc}_{i}")


def _out(torch: str, ours: str, shape: tuple[int, int, int]) -> Iterator[Rule]:
    dim, *head = shape
    if head != [1, dim]:
        yield from blocks.linear(f"{torch}.to_out.0", f"{ours}/out")


def _row(torch: str, ours: str) -> Rule:
    """[1, n, D] to [n, D]."""
    return copy(torch, f"params/{ours}", lambda x: x[0], lambda x: x[None])


def _joined(ours: str, *torch: str) -> Rule:
    """Kernels [out, in] to one, side by side."""
    return Rule(
        f"params/{ours}/kernel",
        tuple(f"{name}.weight" for name in torch),
        lambda *arrays: np.concatenate(arrays).T,
        lambda leaf: np.split(leaf.T, len(torch)),
    )


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
        encoder=bert.config(case.setting("bert")),
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
        padded=True,
    )
