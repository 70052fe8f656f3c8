"""MM-DFN: a deep graph network over the modalities of all utterances of a conversation.

Hu et al., "MM-DFN: Multimodal Dynamic Fusion Network for Emotion Recognition in
Conversations", ICASSP 2022; the form and the defaults (IEMOCAP) are those of
zerohd4869/MM-DFN @ da97036, graph type GDF. A node is a modality of an utterance. Nodes are
linked within a modality to all of the dialogue, and across modalities only within the
utterance, so that the graph is kept as two dense arrays. What an utterance lacks has no node.
Unlike there no recurrent layer reads padding (`padded=True` is the reference's form).
"""

from typing import Annotated, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from annotated_types import Ge, Gt

from msajax import losses, parallel
from msajax.data.spec import MODALITIES
from msajax.models.base import Batch, Model, Outputs
from msajax.nn.dropout import Dropout
from msajax.nn.embedding import Embed
from msajax.nn.linear import Linear, uniform
from msajax.nn.masks import front, to_front, to_places
from msajax.nn.norm import unit
from msajax.nn.recurrent import both_directions, lstm_gates, lstm_params

Width = Annotated[int, Gt(0)]
# Of the modalities in the graph, M, and in front of the output: the reference's.
ORDER: tuple[str, ...] = ("audio", "vision", "text")


class MMDFN(Model):
    """Multimodal dynamic fusion network.

    Attributes:
      hidden: width of each direction of the GRUs; a node is twice as wide.
      recurrent_layers: number of layers of the GRUs.
      graph_dim: width of the graph's layers.
      layers: number of layers of the graph.
      alpha: share of a layer's input in front of all layers.
      lamda: strength of the layers' matrices, log(lamda / layer + 1).
      reason: an LSTM along the layers transforms the nodes in front of each layer, whose
        input is added to its output.
      recurrent_all: audio and vision have a GRU of their own, as text.
      speaker_weights: how much of a GRU over the utterances of one speaker is added to
        the nodes of text, audio and vision; 0 leaves it out.
      embed_speaker: add a vector of the speaker to the text's nodes.
      embed_modality: add a vector of the modality to its nodes.
      modal_weight: weight of links across modalities.
      dropout: dropout rate of nodes, behind each layer, and in front of the output.
      focal: the focal loss, a plain mean over utterances that class weights do not
        normalise; else the loss of `Model`.
      gamma: exponent of the focal loss.
      padded: as the reference, run the GRUs over the padding.
    """

    view: ClassVar[str] = "dialogue"

    hidden: Width = 100
    recurrent_layers: Width = 2
    graph_dim: Width = 100
    layers: Annotated[int, Ge(0)] = 16
    alpha: float = 0.2
    lamda: float = 0.5
    reason: bool = True
    recurrent_all: bool = False
    speaker_weights: tuple[float, float, float] = (1.0, 3.0, 0.0)
    embed_speaker: bool = False
    embed_modality: bool = False
    modal_weight: float = 1.0
    dropout: float = 0.2
    focal: bool = True
    gamma: float = 0.5
    padded: bool = False

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Predictions of all turns.

        Returns:
          'pred'; the nodes 'text', 'audio' and 'vision' [B, U, D]; 'intra' [B, M, U, U] and
          'inter' [B, M, M, U], the normalised links; 'layers' [N, B, M, U, H], their outputs
          in front of the ReLU; 'fusion' [B, U, M (D + H)]. M is in `ORDER`.
        """
        dropout = Dropout(self.dropout, deterministic=not train)
        names = [m for m in ORDER if m in self.spec.modalities]
        own = jnp.stack([batch[f"{m}_mask"] for m in names], axis=1)
        own &= batch["utterance_mask"][:, None]  # [B, M, U]
        nodes = self._nodes(batch, names, own, dropout)
        nodes = jnp.where(own[..., None], nodes, 0)
        links = _links(nodes, own, self.modal_weight)
        x = dropout(nodes)
        h, layers = self._graph(x, links, dropout)
        found = jnp.where(own[..., None], jnp.concatenate([x, h], axis=-1), 0)
        # [B, M, U, D + H] -> [B, U, M (D + H)]
        fusion = jnp.swapaxes(found, 1, 2).reshape(*own.shape[::2], -1)
        pred = Linear(self.spec.num_outputs, name="out")(nn.relu(dropout(fusion)))
        out = {"pred": self.squeeze_single(pred), "fusion": fusion, "layers": layers}
        out |= {m: nodes[:, i] for i, m in enumerate(names)}
        return {**out, "intra": links[0], "inter": links[1]}

    def task_loss(self, pred: jax.Array, batch: Batch) -> jax.Array:
        """The focal loss, weighted by class, where there are classes."""
        if not (self.focal and self.spec.classes):
            return super().task_loss(pred, batch)
        values = losses.focal(pred, batch["label"], gamma=self.gamma)
        if self.class_weights:
            weights = jnp.asarray(self.class_weights, jnp.float32)
            values *= weights[batch["label"]]
        return parallel.batch_mean(values, where=self.counted(batch))

    def _nodes(
        self, batch: Batch, names: list[str], own: jax.Array, dropout: Dropout
    ) -> jax.Array:
        """Utterances of each modality in their context: [B, M, U, D]."""
        steps = jnp.ones_like(own) if self.padded else own
        projected: dict[str, jax.Array] = {}
        found: dict[str, jax.Array] = {}
        for i, m in enumerate(names):
            x = jnp.where(own[:, i, :, None], batch[m], 0)
            projected[m] = found[m] = Linear(2 * self.hidden, name=f"project_{m}")(x)
            if m == "text" or self.recurrent_all:
                gru = _GRUs(self.hidden, self.recurrent_layers, name=f"gru_{m}")
                found[m] = gru(found[m], steps[:, i], dropout)
        weights: dict[str, float] = dict(
            zip(MODALITIES, self.speaker_weights, strict=True)
        )
        weighted = [m for m in names if weights[m]]
        if weighted:
            x = jnp.stack([projected[m] for m in weighted], axis=1)
            at = jnp.asarray([names.index(m) for m in weighted])
            context = self._speakers(x, own[:, at], batch["speaker"], dropout)
            for i, m in enumerate(weighted):
                found[m] += weights[m] * context[:, i]
        if self.embed_speaker and "text" in names:
            embed = Embed(self.spec.speakers, 2 * self.hidden, name="speakers")
            found["text"] += embed(batch["speaker"])
        nodes = jnp.stack([found[m] for m in names], axis=1)
        if self.embed_modality:
            embed = Embed(len(ORDER), 2 * self.hidden, name="modalities")
            at = jnp.asarray([ORDER.index(m) for m in names])
            nodes += embed(at)[None, :, None]
        return nodes

    def _speakers(
        self, x: jax.Array, own: jax.Array, speaker: jax.Array, dropout: Dropout
    ) -> jax.Array:
        """One GRU over the utterances of one speaker, for all speakers and modalities.

        Args:
          x: [B, M, U, D].
          own: [B, M, U] bool, nodes that there are.
          speaker: [B, U] int32.

        Returns:
          [B, M, U, D], 0 where there is no node.
        """
        parties = jnp.arange(self.spec.speakers)[None, None, :, None]
        theirs = own[:, :, None] & (speaker[:, None, None] == parties)  # [B, M, P, U]
        shape = (*theirs.shape, x.shape[-1])
        rows = jnp.broadcast_to(x[:, :, None], shape).reshape(-1, *x.shape[2:])
        flat = theirs.reshape(-1, theirs.shape[-1])  # [B M P, U]
        steps = jnp.ones_like(flat) if self.padded else front(flat)
        gru = _GRUs(self.hidden, self.recurrent_layers, name="gru_speakers")
        h = to_places(gru(to_front(rows, flat), steps, dropout), flat)
        return jnp.sum(h.reshape(*theirs.shape, -1), axis=2)

    def _graph(
        self, x: jax.Array, links: tuple[jax.Array, jax.Array], dropout: Dropout
    ) -> tuple[jax.Array, jax.Array]:
        """What all layers make of the nodes: [B, M, U, H], and the output of each."""
        first = nn.relu(Linear(self.graph_dim, name="first")(x))
        if not self.layers:
            return dropout(first), jnp.zeros((0, *first.shape), first.dtype)
        dim = self.graph_dim
        cell = _Cell(name="reason")(dim, dim) if self.reason else None
        layers = nn.scan(
            _Layer,
            variable_axes={"params": 0},
            split_rngs={"params": True, "dropout": True},
            in_axes=(0, nn.broadcast),  # pyright: ignore[reportArgumentType]
        )(self.alpha, self.dropout, dropout.deterministic, name="layers")
        theta = jnp.log(self.lamda / (1 + jnp.arange(self.layers)) + 1)
        state = jnp.zeros(first.shape, jnp.float32) if self.reason else None
        carry = (dropout(first), state, state)
        given = (first, *links, cell)
        (h, _, _), outputs = layers(carry, theta.astype(first.dtype), given)
        return h, outputs


class _GRUs(nn.Module):
    """Bidirectional layers, with dropout between them."""

    hidden: int
    layers: int

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array, dropout: Dropout) -> jax.Array:
        """[B, U, D], mask [B, U] bool -> [B, U, 2 hidden]."""
        sizes = dict(hidden=self.hidden, layers=self.layers)
        return both_directions(x, mask, dropout, **sizes, cell="gru")


class _Cell(nn.Module):
    """The parameters of an LSTM: kernel, recurrent kernel and bias."""

    @nn.compact
    def __call__(self, dim: int, hidden: int) -> tuple[jax.Array, ...]:
        """Of inputs so wide and states so wide."""
        return lstm_params(self, dim, hidden)


class _Layer(nn.Module):
    """A layer of GCNII in its variant with two inputs, behind a step of the LSTM along the layers."""

    alpha: float
    dropout: float
    deterministic: bool | None

    @nn.compact
    def __call__(self, carry, theta, given):
        """Nodes [B, M, U, H] and the LSTM's state; the same behind the layer, and its output."""
        q, state, cell = carry
        first, intra, inter, params = given
        h = q
        if params is not None:
            kernel, recurrent, bias = params
            z = q @ kernel + state.astype(q.dtype) @ recurrent
            z += bias[None, None, None]
            i, f, g, o = lstm_gates(z.astype(jnp.float32))
            cell = f * cell + i * g
            state = o * jnp.tanh(cell)
            h = state.astype(q.dtype)
        dim = first.shape[-1]
        kernel = self.param("kernel", uniform(dim), (2 * dim, dim))
        g = jnp.einsum("bmuv,bmvh->bmuh", intra.astype(h.dtype), h)
        g += jnp.einsum("bmnu,bnuh->bmuh", inter.astype(h.dtype), h)
        mixed = (1 - self.alpha) * g + self.alpha * first
        both = jnp.concatenate([g, first], axis=-1)
        output = theta * (both @ kernel) + (1 - theta) * mixed
        h = Dropout(self.dropout)(nn.relu(output), deterministic=self.deterministic)
        return (h if params is None else h + q, state, cell), output


def _links(
    nodes: jax.Array, own: jax.Array, weight: float
) -> tuple[jax.Array, jax.Array]:
    """The adjacency by angles, normalised by the degrees of both ends.

    Args:
      nodes: [B, M, U, D].
      own: [B, M, U] bool, nodes that there are.
      weight: of links across modalities.

    Returns:
      [B, M, U, U] within modalities, [B, M, M, U] across, 0 from a modality to itself.
    """
    nodes = nodes.astype(jnp.float32)
    x = unit(nodes)
    intra = _similarity(jnp.einsum("bmud,bmvd->bmuv", x, x))
    intra = jnp.where(own[..., None] & own[:, :, None], intra, 0)
    inter = weight * _similarity(jnp.einsum("bmud,bnud->bmnu", x, x))
    others = ~jnp.eye(nodes.shape[1], dtype=bool)[None, :, :, None]
    inter = jnp.where(own[:, :, None] & own[:, None] & others, inter, 0)
    degree = jnp.sum(intra, axis=-1) + jnp.sum(inter, axis=2)  # [B, M, U]
    scale = jnp.where(own, jax.lax.rsqrt(jnp.where(own, degree, 1)), 0)
    intra *= scale[..., None] * scale[:, :, None]
    return intra, inter * scale[:, :, None] * scale[:, None]


def _similarity(cosine: jax.Array) -> jax.Array:
    """1 for one direction, 0 for the opposite; the factor keeps the gradient of acos finite."""
    return 1 - jnp.arccos(0.99999 * cosine) / jnp.pi
