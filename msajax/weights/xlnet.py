"""XLNet of Hugging Face's transformers."""

from collections.abc import Iterator
from typing import Any

from msajax.weights import blocks
from msajax.weights.table import Rule, Table, copy

# The vector of masked words, which only pretraining's second stream reads.
UNUSED = r"(.*\.)?mask_emb"

_ATTENTION = (*"qkvor", "r_r_bias", "r_s_bias", "r_w_bias", "seg_embed")


def rules(encoder: Any, torch: str = "", ours: str = "") -> Iterator[Rule]:
    """Rules of an XLNetModel; prefixes end in a separator or are ''."""
    yield copy(
        f"{torch}word_embedding.weight", f"params/{ours}word_embedding/embedding"
    )
    for i in range(encoder.config.n_layer):
        source, leaf = f"{torch}layer.{i}", f"{ours}layer/{i}"
        for name in _ATTENTION:
            yield copy(f"{source}.rel_attn.{name}", f"params/{leaf}/rel_attn/{name}")
        for block in ("rel_attn", "ff"):
            yield from blocks.layer_norm(
                f"{source}.{block}.layer_norm", f"{leaf}/{block}/layer_norm"
            )
        for name in ("layer_1", "layer_2"):
            yield from blocks.linear(f"{source}.ff.{name}", f"{leaf}/ff/{name}")


def table(encoder: Any) -> Table:
    """The names in an XLNetModel."""
    return Table(rules=tuple(rules(encoder)), ignored=(UNUSED,))
