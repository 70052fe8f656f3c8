"""wav2vec 2.0, HuBERT and data2vec-audio of Hugging Face's transformers."""

from collections.abc import Iterator
from typing import Any

from msajax.weights import blocks
from msajax.weights.table import Rule, Table, copy, reverse

# The vector of masked steps, which only pretraining and SpecAugment read.
MASKED = r"(.*\.)?masked_spec_embed"

_LINEAR = (
    *(f"attention.{name}_proj" for name in ("k", "v", "q", "out")),
    "feed_forward.intermediate_dense",
    "feed_forward.output_dense",
)
_NORMS = ("layer_norm", "final_layer_norm")


def rules(encoder: Any) -> Iterator[Rule]:
    """Rules of a Wav2Vec2Model, HubertModel or Data2VecAudioModel; a WavLMModel has more."""

    def both(path: str) -> tuple[str, str]:
        return path, path.replace(".", "/")

    config = encoder.config
    for i in range(len(config.conv_dim)):
        layer = f"feature_extractor.conv_layers.{i}"
        yield from _convolution(*both(f"{layer}.conv"), bias=config.conv_bias)
        if config.feat_extract_norm == "layer" or i == 0:
            yield from blocks.layer_norm(*both(f"{layer}.layer_norm"))
    if config.feat_proj_layer_norm:
        yield from blocks.layer_norm(*both("feature_projection.layer_norm"))
    yield from blocks.linear(*both("feature_projection.projection"))
    positions = "encoder.pos_conv_embed"
    if config.conv_pos_kernel_size is None:
        yield from _normed_convolution(*both(f"{positions}.conv"))
    else:
        for i in range(config.num_conv_pos_embeddings):
            yield from _convolution(*both(f"{positions}.layers.{i}.conv"), bias=True)
    yield from blocks.layer_norm(*both("encoder.layer_norm"))
    for i in range(config.num_hidden_layers):
        for name in _LINEAR:
            yield from blocks.linear(*both(f"encoder.layers.{i}.{name}"))
        for name in _NORMS:
            yield from blocks.layer_norm(*both(f"encoder.layers.{i}.{name}"))


def _convolution(torch: str, ours: str, *, bias: bool) -> Iterator[Rule]:
    yield reverse(f"{torch}.weight", f"params/{ours}/kernel")
    if bias:
        yield copy(f"{torch}.bias", f"params/{ours}/bias")


def _normed_convolution(torch: str, ours: str) -> Iterator[Rule]:
    """Length and direction of the kernel, by the names that PyTorch has had since 2.0."""
    for i, letter in enumerate("gv"):
        name = f"{torch}.parametrizations.weight.original{i}"
        yield copy(name, f"params/{ours}/weight_{letter}")
    yield copy(f"{torch}.bias", f"params/{ours}/bias")


def table(encoder: Any) -> Table:
    """The names in one of these models."""
    return Table(rules=tuple(rules(encoder)), ignored=(MASKED,))
