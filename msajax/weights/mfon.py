"""MFON of 123sprouting/MFON, whose cases hold three networks: 'main' and two for pretraining."""

from collections.abc import Iterator
from typing import Any

from msajax.weights import bert, blocks
from msajax.weights.table import Rule, Table, copy, zeros

# Hyperparameters with which our system computes what the reference's does.
REFERENCE = {"padded": True, "fairseq_zero_pos": True}

_BERT = "text_encoder.extractor."

_TAUGHT = ("audio", "vision")


def table(model: Any) -> Table:
    """The names in TVA_fusion; of one modality alone those in the pretraining network.

    The frozen teachers in TVA_fusion have no predictor; ours start at zero.
    """
    return Table(
        rules=tuple(_alone(model) if model.modality else _fusion(model)),
        ignored=(
            _BERT.replace(".", r"\.") + rf"(pooler\..*|{bert.BUFFERS})",
            blocks.ENCODER_BUFFERS,
        ),
    )


def _alone(model: Any) -> Iterator[Rule]:
    yield from _teacher(model, model.modality, "encoder.")
    for i in range(3):
        leaf = f"teacher_{model.modality}/classifier/linear_{i}"
        yield from blocks.linear(f"classifier.MLP.{2 * i}", leaf)


def _fusion(model: Any) -> Iterator[Rule]:
    yield from bert.rules_of(model, _BERT)
    for modality in ("text", *_TAUGHT):
        yield from blocks.linear(f"proj_{modality[0]}", f"project_{modality}")
    for modality, layers in zip(_TAUGHT, model.layers, strict=True):
        yield copy(f"prompt{modality[0]}_m", f"params/prompt_{modality}")
        names = f"{modality}_with_text.", f"mpa_{modality}/"
        yield from blocks.crossmodal_encoder(*names, layers=layers, heads=model.heads)
        yield from _teacher(model, modality, f"{modality}_encoder_froze.")
        widths = (model.dim, model.dim // 2, model.dim // 8, model.spec.num_outputs)
        for i in range(3):
            leaf = f"params/teacher_{modality}/classifier/linear_{i}"
            yield zeros(f"{leaf}/kernel", widths[i : i + 2])
            yield zeros(f"{leaf}/bias", widths[i + 1 : i + 2])
    for i in range(4):
        yield from blocks.linear(f"TVA_decoder.MLP.{2 * i}", f"decoder/linear_{i}")


def _teacher(model: Any, modality: str, torch: str) -> Iterator[Rule]:
    layers = model.teacher_layers[_TAUGHT.index(modality)]
    ours = f"teacher_{modality}"
    # The authors' vision encoder is a copy of the audio's, names included.
    yield from blocks.linear(f"{torch}proj_a", f"{ours}/project")
    names = f"{torch}trans_encoder_a.", f"{ours}/encoder/"
    yield from blocks.crossmodal_encoder(*names, layers=layers, heads=model.heads)
