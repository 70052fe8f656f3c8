"""ALMT of Haoyu-ha/ALMT.

Its cases also hold what never reaches the prediction (steps behind the tokens, the
target of the fusion): that is computed here, from our blocks.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from msajax.data.spec import MODALITIES
from msajax.weights import bert, blocks
from msajax.weights.table import Rule, Table, copy

# Hyperparameters with which our system computes what the reference's does.
REFERENCE = {"padded": True}

_BERT = "bertmodel.model."

_LETTERS = dict(zip("lav", MODALITIES, strict=True))


def table(model: Any) -> Table:
    """The names of the authors."""
    return Table(
        rules=tuple(_rules(model)),
        ignored=(_BERT.replace(".", r"\.") + rf"(pooler\..*|{bert.BUFFERS})",),
    )


def _rules(model: Any) -> Iterator[Rule]:
    yield from bert.rules_of(model, _BERT)
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


def _ahl(model: Any) -> Iterator[Rule]:
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
