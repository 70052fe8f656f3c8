"""Rules for the blocks of `msajax.nn`, from the names that PyTorch's modules give them.

Each takes the prefix of the module in the state dict and the path of ours
(without 'params/').
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from msajax.weights.table import Rule, copy, reverse, stack

# torch.nn.BatchNorm counts its updates; nothing reads the count.
BATCHES = r".*\.num_batches_tracked"
# Buffers of MulT's encoder that hold a version number and a device.
ENCODER_BUFFERS = r"(.*\.)?(version|embed_positions\._float_tensor)"

_DIRECTIONS = ("forward", "backward")
# MMSA's names of the modalities, and ours.
_VIDEO = {"text": "text", "audio": "audio", "video": "vision"}


def linear(torch: str, ours: str) -> Iterator[Rule]:
    """torch.nn.Linear to `Linear` or nn.Dense."""
    yield reverse(f"{torch}.weight", f"params/{ours}/kernel")
    yield copy(f"{torch}.bias", f"params/{ours}/bias")


def layer_norm(torch: str, ours: str) -> Iterator[Rule]:
    """torch.nn.LayerNorm to `LayerNorm`."""
    yield copy(f"{torch}.weight", f"params/{ours}/scale")
    yield copy(f"{torch}.bias", f"params/{ours}/bias")


def batch_norm(torch: str, ours: str) -> Iterator[Rule]:
    """torch.nn.BatchNorm1d to `BatchNorm`; its count of batches is `BATCHES`."""
    yield from layer_norm(torch, ours)
    yield copy(f"{torch}.running_mean", f"batch_stats/{ours}/mean")
    yield copy(f"{torch}.running_var", f"batch_stats/{ours}/var")


def lstm(torch: str, ours: str, layers: int = 1) -> Iterator[Rule]:
    """torch.nn.LSTM to `LSTM`, whose one bias is the sum of the two there."""
    for i in range(layers):
        leaf = f"params/{ours}/layer_{i}"
        yield reverse(f"{torch}.weight_ih_l{i}", f"{leaf}/kernel")
        yield reverse(f"{torch}.weight_hh_l{i}", f"{leaf}/recurrent_kernel")
        names = [f"{torch}.bias_{kind}_l{i}" for kind in ("ih", "hh")]
        yield _summed(names, f"{leaf}/bias")


def lstm_cell(torch: str, ours: str) -> Iterator[Rule]:
    """torch.nn.LSTMCell to `LSTMLayer` or `LSTMDecoder`."""
    yield reverse(f"{torch}.weight_ih", f"params/{ours}/kernel")
    yield reverse(f"{torch}.weight_hh", f"params/{ours}/recurrent_kernel")
    names = [f"{torch}.bias_{kind}" for kind in ("ih", "hh")]
    yield _summed(names, f"params/{ours}/bias")


def _summed(names: Iterable[str], leaf: str) -> Rule:
    """The one bias of our LSTM, the sum of the two there."""
    return Rule(leaf, tuple(names), np.add, lambda gradient: (gradient, gradient))


def recurrent(
    torch: str,
    ours: str,
    cell: str,
    directions: Sequence[str] = _DIRECTIONS,
    *,
    layer: int = 0,
) -> Iterator[Rule]:
    """A layer of a torch.nn.LSTM or GRU to `Recurrent`."""
    for direction in directions:
        ending = f"l{layer}" + ("_reverse" if direction == "backward" else "")
        leaf = f"params/{ours}/{direction}"
        names = [f"{torch}.bias_{kind}_{ending}" for kind in ("ih", "hh")]
        yield reverse(f"{torch}.weight_ih_{ending}", f"{leaf}/kernel")
        yield reverse(f"{torch}.weight_hh_{ending}", f"{leaf}/recurrent_kernel")
        if cell == "lstm":
            yield _summed(names, f"{leaf}/bias")
        else:
            yield copy(names[0], f"{leaf}/bias")
            yield copy(names[1], f"{leaf}/recurrent_bias")


def parties(torch: str, ours: str, model: Any) -> Iterator[Rule]:
    """DialogueRNN's cell to `PartyRNN`, with the attention and the listener of the model."""
    cells = dict(g="global", p="party", e="emotion")
    if model.listener:
        cells["l"] = "listener"
    yield from party_cells(torch, ours, cells, model.context_attention)


def party_cells(
    torch: str, ours: str, cells: Mapping[str, str], attention: str
) -> Iterator[Rule]:
    """The cells {letters there: name here} and the context attention of a dialogue's states."""
    for letters, name in cells.items():
        leaf = f"params/{ours}/{name}_cell"
        source = f"{torch}.{letters}_cell"
        yield reverse(f"{source}.weight_ih", f"{leaf}/kernel")
        yield reverse(f"{source}.weight_hh", f"{leaf}/recurrent_kernel")
        yield copy(f"{source}.bias_ih", f"{leaf}/bias")
        yield copy(f"{source}.bias_hh", f"{leaf}/recurrent_bias")
    kind, vector = attention, f"params/{ours}/attention_vector"
    source = f"{torch}.attention"
    if kind in ("general", "general2"):
        leaf = f"{ours}/attention"
        yield reverse(f"{source}.transform.weight", f"params/{leaf}/kernel")
        if kind == "general2":
            yield copy(f"{source}.transform.bias", f"params/{leaf}/bias")
    elif kind == "concat":
        kernel = f"params/{ours}/attention_kernel"
        yield reverse(f"{source}.transform.weight", kernel)
        yield copy(f"{source}.vector_prod.weight", vector, np.ravel, _row)
    elif kind == "simple":
        yield copy(f"{source}.scalar.weight", vector, np.ravel, _row)


def _row(vector: np.ndarray) -> np.ndarray:
    return vector[None]


def feed_forward(torch: str, ours: str) -> Iterator[Rule]:
    """Two layers that MMSA names `{torch}_fc1` and `{torch}_fc2` to `FeedForward`."""
    for name in ("fc1", "fc2"):
        yield from linear(f"{torch}_{name}", f"{ours}/{name}")


def lstms(torch: str, ours: str) -> Iterator[Rule]:
    """The three LSTMs of MMSA's MFN to `LSTMs`; torch's prefix ends in a separator or is ''."""
    for letter, m in (("l", "text"), ("a", "audio"), ("v", "vision")):
        yield from lstm_cell(f"{torch}lstm_{letter}", f"{ours}/{m}")


def gated_memory(torch: str, ours: str) -> Iterator[Rule]:
    """The memory of MMSA's MFN to `GatedMemory`; torch's prefix ends in a separator or is ''."""
    yield from feed_forward(f"{torch}att2", f"{ours}/update")
    for theirs, gate in (("gamma1", "keep"), ("gamma2", "write")):
        for name in ("fc1", "fc2"):
            yield from linear(f"{torch}{theirs}_{name}", f"{ours}/{gate}_{name}")


def memory_fusion(torch: str, ours: str) -> Iterator[Rule]:
    """MMSA's MFN without its output layers to `MemoryFusion`."""
    yield from lstms(torch, f"{ours}/lstms")
    yield from feed_forward(f"{torch}att1", f"{ours}/attention")
    yield from gated_memory(torch, f"{ours}/memory")


def attention(torch: str, ours: str, heads: int) -> Iterator[Rule]:
    """torch.nn.MultiheadAttention to `MultiHeadAttention`."""

    def read(weight):  # [3 D, D] -> [D, 3, H, D/H]
        width = weight.shape[0] // (3 * heads)
        return np.moveaxis(weight.reshape(3, heads, width, -1), -1, 0)

    def write(kernel):
        return np.moveaxis(kernel, 0, -1).reshape(-1, kernel.shape[0])

    yield copy(f"{torch}.in_proj_weight", f"params/{ours}/kernel", read, write)
    yield copy(
        f"{torch}.in_proj_bias",
        f"params/{ours}/bias",
        lambda bias: bias.reshape(3, heads, -1),
        np.ravel,
    )
    yield from linear(f"{torch}.out_proj", f"{ours}/out")


def crossmodal_encoder(
    torch: str, ours: str, *, layers: int, heads: int
) -> Iterator[Rule]:
    """MulT's TransformerEncoder to `CrossmodalEncoder`; prefixes end in a separator or are ''."""

    def layer(i: int) -> Iterator[Rule]:
        source, leaf = f"{torch}layers.{i}", f"{ours}layers"
        yield from attention(f"{source}.self_attn", f"{leaf}/attention", heads)
        yield from layer_norm(f"{source}.layer_norms.0", f"{leaf}/attention_norm")
        yield from layer_norm(f"{source}.layer_norms.1", f"{leaf}/feed_forward_norm")
        yield from linear(f"{source}.fc1", f"{leaf}/fc1")
        yield from linear(f"{source}.fc2", f"{leaf}/fc2")

    yield from stack(layer(i) for i in range(layers))
    yield from layer_norm(f"{torch}layer_norm", f"{ours}norm")


def subnet(torch: str, ours: str) -> Iterator[Rule]:
    """MMSA's SubNet to `SubNet`."""
    yield from batch_norm(f"{torch}.norm", f"{ours}/norm")
    for i in (1, 2, 3):
        yield from linear(f"{torch}.linear_{i}", f"{ours}/linear_{i}")


def text_subnet(torch: str, ours: str) -> Iterator[Rule]:
    """MMSA's TextSubNet to `TextSubNet`."""
    yield from lstm(f"{torch}.rnn", f"{ours}/lstm")
    yield from linear(f"{torch}.linear_1", f"{ours}/linear")


def subnets() -> Iterator[Rule]:
    """The three subnetworks that TFN, LMF and LF-DNN share."""
    yield from text_subnet("text_subnet", "subnets/text")
    yield from subnet("audio_subnet", "subnets/audio")
    yield from subnet("video_subnet", "subnets/vision")


def post_fusion() -> Iterator[Rule]:
    """The three layers after the fusion of TFN and LF-DNN."""
    for i in (1, 2, 3):
        yield from linear(f"post_fusion_layer_{i}", f"post_fusion_{i}")


def low_rank() -> Iterator[Rule]:
    """LMF's factors, and the weights of its rank-one terms, to `LowRank`."""
    for name, modality in _VIDEO.items():
        yield copy(f"{name}_factor", f"params/{modality}_factor")
    yield copy("fusion_weights", "params/fusion_weights")
    yield copy("fusion_bias", "params/fusion_bias")


def modality_predictions(tasks: Iterable[str]) -> tuple[Iterable[Rule], list[str]]:
    """The layers behind each embedding in MMSA's multi-task systems.

    Args:
      tasks: modalities that have these layers in ours: those with a label.

    Returns:
      The rules, and regexes of the names of the other modalities' layers.
    """
    names = {modality: f"post_{name}_layer_" for name, modality in _VIDEO.items()}
    rules = (
        rule
        for m in tasks
        for i in (1, 2, 3)
        for rule in linear(f"{names[m]}{i}", f"post_{m}_{i}")
    )
    return rules, [rf"{names[m]}\d\..*" for m in names if m not in tasks]
