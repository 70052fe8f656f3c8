"""MPNet of Hugging Face's transformers."""

from collections.abc import Iterator
from typing import Any

from msajax.weights import blocks
from msajax.weights.bert import BUFFERS
from msajax.weights.table import Rule, Table, copy

_EMBEDDINGS = (
    *("embeddings.word_embeddings", "embeddings.position_embeddings"),
    "encoder.relative_attention_bias",
)
_LINEAR = (
    *(f"attention.attn.{name}" for name in "qkvo"),
    *("intermediate.dense", "output.dense"),
)
_NORMS = ("attention.LayerNorm", "output.LayerNorm")


def rules(encoder: Any, torch: str = "", ours: str = "") -> Iterator[Rule]:
    """Rules of an MPNetModel; prefixes end in a separator or are ''."""

    def both(path: str) -> tuple[str, str]:
        return torch + path, ours + path.replace(".", "/")

    for name in _EMBEDDINGS:
        source, leaf = both(name)
        yield copy(f"{source}.weight", f"params/{leaf}/embedding")
    yield from blocks.layer_norm(*both("embeddings.LayerNorm"))
    for i in range(encoder.config.num_hidden_layers):
        for name in _LINEAR:
            yield from blocks.linear(*both(f"encoder.layer.{i}.{name}"))
        for name in _NORMS:
            yield from blocks.layer_norm(*both(f"encoder.layer.{i}.{name}"))
    if encoder.pooler:
        yield from blocks.linear(*both("pooler.dense"))


def table(encoder: Any) -> Table:
    """The names in an MPNetModel."""
    return Table(rules=tuple(rules(encoder)), ignored=(BUFFERS,))
