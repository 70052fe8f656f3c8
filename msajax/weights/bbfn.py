"""BBFN of declare-lab/BBFN."""

from collections.abc import Iterator
from typing import Any

from msajax.data.spec import MODALITIES
from msajax.weights import bert, blocks
from msajax.weights.table import Rule, Table, copy, reverse, stack

# Hyperparameters with which our system computes what the reference's does.
REFERENCE = {"padded": True}

_BERT = "embedding.bertmodel."
_LETTERS = dict(zip(MODALITIES, "lav", strict=True))


def table(model: Any) -> Table:
    """The authors' names; they save projections twice, and have parts that nothing reads."""
    return Table(
        rules=tuple(_rules(model)),
        ignored=(
            _BERT.replace(".", r"\.") + rf"(pooler\..*|{bert.BUFFERS})",
            r"SequenceEncoder\.proj_[lav]_(h|seq)\..*",
            r"modal_interaction\.l[av]\.(layer_norm\..*|version|embed_positions\..*)",
        ),
    )


def _rules(model: Any) -> Iterator[Rule]:
    if model.spec.vocabulary:
        yield copy("embedding.embed.weight", "params/words/embedding")
    else:
        yield from bert.rules_of(model, _BERT)
    for m, x in _LETTERS.items():
        ours, torch = f"project_{m}", "SequenceEncoder."
        if model.projection == "cnn":
            yield reverse(f"{torch}proj_{x}.weight", f"params/{ours}/cnn/conv/kernel")
            continue
        names = f"{torch}rnn_{x}", f"{ours}/recurrent"
        yield from blocks.recurrent(*names, model.projection)
        yield from blocks.linear(f"{torch}linear_proj_{x}_h", f"{ours}/vector")
        yield from blocks.linear(f"{torch}linear_proj_{x}_seq", f"{ours}/steps")
        yield from blocks.layer_norm(f"{torch}layer_norm_{x}", f"{ours}/norm")
    for m in ("audio", "vision"):
        torch, ours = f"modal_interaction.l{m[0]}.", f"text_{m}"
        yield from _layer(model, torch, 0, f"{ours}/first")
        later = range(1, model.layers)
        yield from stack(_layer(model, torch, i, f"{ours}/layers") for i in later)
    for torch, ours in (("proj1", "fc1"), ("proj2", "fc2"), ("out_layer", "head")):
        yield from blocks.linear(torch, ours)


def _layer(model: Any, torch: str, i: int, ours: str) -> Iterator[Rule]:
    for letter, k, layers in (("l", "text", "l2other"), ("o", "other", "other2l")):
        names = f"{torch}div_encoders.{i}.encode_{letter}", f"{ours}/control_{k}"
        yield from blocks.recurrent(*names, "gru") if i else blocks.linear(*names)
        source, leaf = f"{torch}{layers}_layers.{i}", f"{ours}/{k}"
        yield from blocks.attention(
            f"{source}.self_attn", f"{leaf}_attention", model.heads
        )
        for j, norm in enumerate(("attention_norm", "feed_forward_norm")):
            yield from blocks.layer_norm(f"{source}.layer_norms.{j}", f"{leaf}_{norm}")
            yield from blocks.linear(f"{source}.fc{j + 1}", f"{leaf}_fc{j + 1}")
        for name, gate in (("mem_proj", "keep_gate"), ("att_proj", "fuse_gate")):
            yield from blocks.linear(f"{source}.{name}.0", f"{leaf}_{gate}")
    for j in (1, 2):
        name = f"{torch}div_encoders.{i}.discriminator.{2 * j - 2}"
        yield from blocks.linear(name, f"{ours}/discriminator_{j}")
