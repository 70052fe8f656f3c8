"""MISA of thuiar/MMSA."""

from collections.abc import Iterator
from typing import Any

from msajax.data.spec import MODALITIES
from msajax.weights import bert, blocks
from msajax.weights.table import Rule, Table

# Hyperparameters with which our system computes what the reference's does.
REFERENCE = {"text_lengths": True}

_BERT = "bertmodel.model."


def table(model: Any) -> Table:
    """MMSA's names; it has a LayerNorm and a discriminator that no loss reads."""
    return Table(
        rules=tuple(_rules(model)),
        ignored=(
            _BERT.replace(".", r"\.") + rf"(pooler\..*|{bert.BUFFERS})",
            r"(tlayer_norm|sp_discriminator)\..*",
        ),
    )


def _rules(model: Any) -> Iterator[Rule]:
    yield from bert.rules_of(model, _BERT)
    for m in MODALITIES:
        letter = m[0]
        project, private, decode = (
            f"{part}_{letter}.{part}_{letter}"
            for part in ("project", "private", "recon")
        )
        yield from blocks.linear(project, f"project_{m}")
        yield from blocks.layer_norm(f"{project}_layer_norm", f"project_{m}_norm")
        number = 3 if m == "audio" else 1
        yield from blocks.linear(f"{private}_{number}", f"private_{m}")
        yield from blocks.linear(f"{decode}_1", f"decode_{m}")
        if m != "text":
            for i in (0, 1):
                names = f"{letter}rnn{i + 1}", f"read_{m}/layer_{i}"
                yield from blocks.recurrent(*names, model.cell)
            yield from blocks.layer_norm(f"{letter}layer_norm", f"read_{m}/norm")
    yield from blocks.linear("shared.shared_1", "shared")
    torch = "transformer_encoder.layers.0"
    yield from blocks.attention(f"{torch}.self_attn", "fuse/attention", model.heads)
    for i, norm in ((1, "attention_norm"), (2, "output_norm")):
        yield from blocks.linear(f"{torch}.linear{i}", f"fuse/fc{i}")
        yield from blocks.layer_norm(f"{torch}.norm{i}", f"fuse/{norm}")
    yield from blocks.linear("fusion.fusion_layer_1", "fc")
    yield from blocks.linear("fusion.fusion_layer_3", "head")
