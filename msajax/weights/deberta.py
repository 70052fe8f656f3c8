"""DeBERTa of versions 2 and 3 of Hugging Face's transformers."""

from collections.abc import Iterator
from typing import Any

from msajax.weights import bert
from msajax.weights.table import Rule, Table, copy, reverse

# Positions that some files hold although their network does not read them.
UNUSED = r"(.*\.)?embeddings\.position_embeddings\.weight"

_LINEAR = (
    *(f"attention.self.{name}_proj" for name in ("query", "key", "value")),
    "attention.output.dense",
    "intermediate.dense",
    "output.dense",
)
_TERMS = {"c2p": "attention.self.pos_key_proj", "p2c": "attention.self.pos_query_proj"}


def rules(encoder: Any) -> Iterator[Rule]:
    """Rules of a DebertaV2Model, and of the pooler of its heads of classification."""
    config = encoder.config
    tables, linear = ["embeddings.word_embeddings"], [*_LINEAR]
    norms = ["embeddings.LayerNorm", *bert.of_layers(encoder, bert.NORMS)]
    if config.position_biased_input:
        tables.append("embeddings.position_embeddings")
    if config.type_vocab_size:
        tables.append("embeddings.token_type_embeddings")
    if config.has_distances:
        tables.append("encoder.rel_embeddings")
        if config.norm_rel_ebd == "layer_norm":
            norms.append("encoder.LayerNorm")
        if not config.share_att_key:
            linear += [_TERMS[term] for term in sorted({*config.pos_att_type})]
    if config.conv_kernel_size:
        norms.append("encoder.conv.LayerNorm")
    yield from bert.by_name(
        tables=tables,
        linear=[*bert.of_layers(encoder, linear), *bert.pooler(encoder)],
        norms=norms,
    )
    if config.conv_kernel_size:
        yield reverse("encoder.conv.conv.weight", "params/encoder/conv/conv/kernel")
        yield copy("encoder.conv.conv.bias", "params/encoder/conv/conv/bias")


def table(encoder: Any) -> Table:
    """The names in a DebertaV2Model."""
    ignored = (bert.BUFFERS, UNUSED)
    return Table(rules=tuple(rules(encoder)), ignored=ignored)
