"""BERT and RoBERTa of Hugging Face's transformers."""

from collections.abc import Iterator
from typing import Any

from msajax.weights import blocks
from msajax.weights.table import Rule, Table, copy

# Buffers that some versions of transformers save.
BUFFERS = r"(.*\.)?embeddings\.(position_ids|token_type_ids)"

_EMBEDDINGS = ("word_embeddings", "position_embeddings", "token_type_embeddings")

_LINEAR = (
    *(f"attention.self.{name}" for name in ("query", "key", "value")),
    *("attention.output.dense", "intermediate.dense", "output.dense"),
)

_NORMS = ("attention.output.LayerNorm", "output.LayerNorm")


def rules(encoder: Any, torch: str = "", ours: str = "") -> Iterator[Rule]:
    """Rules of a BertModel; prefixes end in a separator or are ''."""

    def names(of: tuple[str, ...], folder: str) -> Iterator[tuple[str, str]]:
        for name in of:
            path = f"{folder}.{name}"
            yield torch + path, ours + path.replace(".", "/")

    for source, leaf in names(_EMBEDDINGS, "embeddings"):
        yield copy(f"{source}.weight", f"params/{leaf}/embedding")
    yield from blocks.layer_norm(
        f"{torch}embeddings.LayerNorm", f"{ours}embeddings/LayerNorm"
    )
    for i in range(encoder.config.num_hidden_layers):
        for source, leaf in names(_LINEAR, f"encoder.layer.{i}"):
            yield from blocks.linear(source, leaf)
        for source, leaf in names(_NORMS, f"encoder.layer.{i}"):
            yield from blocks.layer_norm(source, leaf)
    if encoder.pooler:
        yield from blocks.linear(f"{torch}pooler.dense", f"{ours}pooler/dense")


def rules_of(model: Any, torch: str) -> Iterator[Rule]:
    """Rules of the BERT that a system's authors save with it.

    Args:
      model: the system.
      torch: prefix of the encoder's names, which ends in a separator.

    Raises:
      ValueError: the system reads text features, or has an encoder of another kind.
    """
    if not hasattr(model.encoder, "num_hidden_layers"):
        raise ValueError(
            f"the authors of {type(model).__name__} save it with its BERT; build the "
            "model with encoder=BertConfig(...)"
        )
    yield from rules(model.encoder.encoder(pooler=False), torch, "encoder/")


def table(encoder: Any) -> Table:
    """The names in a BertModel."""
    return Table(rules=tuple(rules(encoder)), ignored=(BUFFERS,))
