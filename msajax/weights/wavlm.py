"""WavLM of Hugging Face's transformers."""

from collections.abc import Iterator
from typing import Any

from msajax.weights import blocks, wav2vec2
from msajax.weights.table import Rule, Table, copy


def rules(encoder: Any) -> Iterator[Rule]:
    """Rules of a WavLMModel, whose layer 0 holds the table of relative positions."""
    yield from wav2vec2.rules(encoder)
    first = "encoder.layers.0.attention.rel_attn_embed.weight"
    yield copy(first, "params/rel_attn_embed/embedding")
    for i in range(encoder.config.num_hidden_layers):
        torch = f"encoder.layers.{i}.attention.gru_rel_pos"
        ours = torch.replace(".", "/")
        yield copy(f"{torch}_const", f"params/{ours}_const")
        yield from blocks.linear(f"{torch}_linear", f"{ours}_linear")


def table(encoder: Any) -> Table:
    """The names in a WavLMModel."""
    return Table(rules=tuple(rules(encoder)), ignored=(wav2vec2.MASKED,))
