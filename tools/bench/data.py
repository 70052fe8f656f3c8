"""The data that tools/bench/bench.py measures on: random, in the shapes of the field's files."""

from typing import Any, NamedTuple

import numpy as np

from msajax.data.file_sizes import FILES
from msajax.data.spec import DATASETS, MODALITIES, Spec
from msajax.encoders.bert import BertConfig
from msajax.encoders.xlnet import XLNetConfig
from msajax.run import model_options

# Of the sizes that people fine-tune, all-MiniLM-L6's and BERT's base, and one to try a
# command; random weights.
ENCODERS: dict[str, dict[type, Any]] = {
    "minilm": {
        BertConfig: BertConfig(
            hidden_size=384, num_hidden_layers=6, intermediate_size=1536
        ),
        XLNetConfig: XLNetConfig(d_model=384, n_layer=6, d_inner=1536),
    },
    "base": {BertConfig: BertConfig(), XLNetConfig: XLNetConfig()},
    "tiny": {
        BertConfig: BertConfig(
            vocab_size=50,
            hidden_size=8,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=9,
        ),
        XLNetConfig: XLNetConfig(
            vocab_size=50, d_model=8, n_layer=2, n_head=2, d_inner=9
        ),
    },
}


class Shape(NamedTuple):
    """A dataset's name, its feature widths and its padded lengths."""

    dataset: str
    dims: tuple[int, int, int]
    lengths: tuple[int, int, int]


def _shape(name: str) -> Shape:
    return Shape(name.partition("/")[0], FILES[name].dims, FILES[name].lengths)


SHAPES = {
    "mosi_aligned": _shape("mosi/aligned"),
    "mosi": _shape("mosi/unaligned"),
    "mosei": _shape("mosei/unaligned"),
    "simsv2": _shape("simsv2/unaligned"),
}


def example(
    system: str, shape: Shape, rows: int, encoder: str | None
) -> tuple[Spec, dict[str, np.ndarray], Any]:
    """Random data of a shape for a system.

    Args:
      system: its name.
      shape: of the data.
      rows: of the split.
      encoder: size of the text's, a key of `ENCODERS`; None: the text is features.

    Returns:
      The spec, the arrays of a split, and the config of the encoder that reads
      its word pieces, None for a system that takes features.
    """
    known = ENCODERS[encoder] if encoder else {}
    kinds = [kind for kind in model_options.encoder_kinds(system) if kind in known]
    fields = (*Spec.fields, *(("text_ids", "text_type") if kinds else ()))
    if DATASETS[shape.dataset].own_labels:
        fields = (*fields, *(f"label_{m}" for m in MODALITIES))
    scale = DATASETS[shape.dataset].label_range
    spec = Spec(shape.dims, shape.lengths, rows, scale, fields=fields)
    arrays = spec.example(rows)
    del arrays["index"], arrays["valid"]
    if not kinds:
        return spec, arrays, None
    config = known[kinds[0]]
    del arrays["text"]
    ids = np.random.default_rng(1).integers(
        0, config.vocab_size, (rows, spec.lengths[0])
    )
    arrays["text_ids"] = ids.astype(np.int32)
    arrays["text_type"] = np.zeros_like(arrays["text_ids"])
    return spec, arrays, config


def write_example(shape: Shape, rows: int, path: str) -> None:
    """Writes an .npz of random features in a shape, with so many rows to train on."""
    sizes = {"train": rows, "valid": 229, "test": 686}
    total = sum(sizes.values())
    arrays: dict[str, Any] = Spec(shape.dims, shape.lengths, total).example(total)
    np.savez(
        path,
        id=np.arange(total).astype(str),
        split=np.repeat(list(sizes), list(sizes.values())),
        **{name: arrays[name] for name in (*MODALITIES, "label")},
    )


def real_share(parts: list[dict[str, np.ndarray]]) -> float:
    """Share of the steps of all modalities that are data, in parts of a split."""
    masks = [part[f"{name}_mask"] for part in parts for name in MODALITIES]
    return float(sum(m.sum() for m in masks) / sum(m.size for m in masks))
