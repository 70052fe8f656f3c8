"""BERT, RoBERTa and ELECTRA of Hugging Face's transformers."""

from collections.abc import Iterable, Iterator
from typing import Any

from msajax.weights import blocks
from msajax.weights.table import Rule, Table, copy

# Buffers that some versions of transformers save.
BUFFERS = r"(.*\.)?embeddings\.(position_ids|token_type_ids)"

_LINEAR = (
    *(f"attention.self.{name}" for name in ("query", "key", "value")),
    "attention.output.dense",
    "intermediate.dense",
    "output.dense",
)

NORMS = ("attention.output.LayerNorm", "output.LayerNorm")


def rules(encoder: Any, torch: str = "", ours: str = "") -> Iterator[Rule]:
    """Rules of a BertModel or ElectraModel; prefixes end in a separator or are ''."""
    config, names = encoder.config, ["word", "position"]
    if config.type_vocab_size:
        names.append("token_type")
    narrow = config.embedding_width != config.hidden_size
    yield from by_name(
        tables=[f"embeddings.{name}_embeddings" for name in names],
        linear=[
            *(["embeddings_project"] if narrow else []),
            *of_layers(encoder, _LINEAR),
            *pooler(encoder),
        ],
        norms=["embeddings.LayerNorm", *of_layers(encoder, NORMS)],
        torch=torch,
        ours=ours,
    )


def by_name(
    *,
    tables: Iterable[str],
    linear: Iterable[str],
    norms: Iterable[str],
    torch: str = "",
    ours: str = "",
) -> Iterator[Rule]:
    """Rules of modules with the same names in PyTorch and here.

    Args:
      tables, linear, norms: paths of vectors, of linear layers and of norms, with dots.
      torch, ours: prefixes, which end in a separator or are ''.
    """

    def both(path: str) -> tuple[str, str]:
        return torch + path, ours + path.replace(".", "/")

    for source, leaf in map(both, tables):
        yield copy(f"{source}.weight", f"params/{leaf}/embedding")
    for path in linear:
        yield from blocks.linear(*both(path))
    for path in norms:
        yield from blocks.layer_norm(*both(path))


def of_layers(encoder: Any, names: Iterable[str]) -> Iterator[str]:
    """Names within a layer as those of all layers."""
    for i in range(encoder.config.num_hidden_layers):
        yield from (f"encoder.layer.{i}.{name}" for name in names)


def pooler(encoder: Any) -> list[str]:
    """The linear layer behind the layers, where the encoder has it."""
    return ["pooler.dense"] if encoder.pooler else []


def rules_of(model: Any, torch: str, *, pooler: bool = False) -> Iterator[Rule]:
    """Rules of the BERT that a system's authors save with it.

    Args:
      model: the system.
      torch: prefix of the encoder's names, which ends in a separator.
      pooler: whether the system reads it.

    Raises:
      ValueError: the system reads text features, or has an encoder of another kind.
    """
    if "bert" not in getattr(model.encoder, "kinds", ()):
        raise ValueError(
            f"the authors of {type(model).__name__} save it with its BERT; build the "
            "model with encoder=BertConfig(...)"
        )
    yield from rules(model.encoder.encoder(pooler=pooler), torch, "encoder/")


def table(encoder: Any) -> Table:
    """The names in a BertModel."""
    return Table(rules=tuple(rules(encoder)), ignored=(BUFFERS,))
