"""MPNet of Hugging Face's transformers."""

from collections.abc import Iterator
from typing import Any

from msajax.weights import bert
from msajax.weights.table import Rule, Table

_TABLES = (
    "embeddings.word_embeddings",
    "embeddings.position_embeddings",
    "encoder.relative_attention_bias",
)
_LINEAR = (
    *(f"attention.attn.{name}" for name in "qkvo"),
    "intermediate.dense",
    "output.dense",
)
_NORMS = ("attention.LayerNorm", "output.LayerNorm")


def rules(encoder: Any) -> Iterator[Rule]:
    """Rules of an MPNetModel."""
    return bert.by_name(
        tables=_TABLES,
        linear=[*bert.of_layers(encoder, _LINEAR), *bert.pooler(encoder)],
        norms=["embeddings.LayerNorm", *bert.of_layers(encoder, _NORMS)],
    )


def table(encoder: Any) -> Table:
    """The names in an MPNetModel."""
    return Table(rules=tuple(rules(encoder)), ignored=(bert.BUFFERS,))
