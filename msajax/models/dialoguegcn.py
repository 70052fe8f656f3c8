"""DialogueGCN: a graph network over the utterances of a conversation, whose edges know speakers and order.

Ghosal et al., "DialogueGCN: A Graph Convolutional Neural Network for Emotion Recognition in
Conversation", EMNLP 2019, with the sizes of declare-lab/conv-emotion @ 6128ca2. Two traits
of that code are options: `edge_query` and `normalise`. Its softmax also counts padding, and
then divides by the sum over the window: that is a softmax over the window. The graph is kept
as dense arrays, and the relations' matrices as their basis.
"""

from typing import Annotated, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from annotated_types import Ge, Gt

from msajax.models.base import Batch, Model, Outputs
from msajax.nn import parties, recurrent
from msajax.nn.attention import masked_softmax
from msajax.nn.dropout import Dropout
from msajax.nn.linear import Linear, uniform
from msajax.nn.turns import MatchingAttention, features, reverse

Width = Annotated[int, Gt(0)]
Window = Annotated[int, Ge(-1)]
_CHOICES = {
    "base": ("lstm", "gru", "dialogue_rnn", "none"),
    "edge_query": ("utterance", "position"),
    "normalise": ("incoming", "outgoing"),
    "relations": ("speaker_time", "speaker", "time"),
    "context_attention": parties.ATTENTIONS,
}


class DialogueGCN(Model):
    """Dialogue graph convolutional network, on the features of all modalities that the data has.

    Attributes:
      base: what reads the utterances in front of the graph: 'lstm' or 'gru' in both
        directions, 'dialogue_rnn' in both, or 'none', a linear layer.
      hidden: width of each direction.
      recurrent_layers: number of layers of 'lstm' and 'gru'.
      global_dim, party_dim: widths of the states of the dialogue and of each speaker
        in 'dialogue_rnn'.
      context_attention: how a turn of 'dialogue_rnn' attends to earlier states, one of
        'simple', 'general', 'general2', 'concat' and 'dot'.
      attention_dim: width of the attention 'concat'.
      listener: those who do not speak change too in 'dialogue_rnn'.
      recurrent_dropout: dropout rate of new states in 'dialogue_rnn'.
      graph_dim: width of both convolutions.
      bases: number of matrices that make up those of all relations.
      window_past, window_future: turns before and after that an utterance is linked to; -1
        is all.
      edge_query: what scores an utterance's edges: itself, as in the paper, or a vector of
        its position, as in the published code.
      normalise: which weights sum to 1: 'incoming', those of the edges into an utterance,
        whose window is what it hears of, as in the paper; 'outgoing', those of the edges
        that leave it, as in the published code.
      relations: what the matrix of an edge depends on: both speakers and the order, or one
        of these alone.
      nodal_attention: each utterance attends to all of its dialogue behind the graph.
      dropout: dropout rate between recurrent layers, and in front of the output.
      padded: as the reference, run 'lstm' and 'gru' over the padding.
    """

    view: ClassVar[str] = "dialogue"

    base: str = "lstm"
    hidden: Width = 100
    recurrent_layers: Width = 2
    global_dim: Width = 150
    party_dim: Width = 150
    context_attention: str = "general"
    attention_dim: Width = 100
    listener: bool = False
    recurrent_dropout: float = 0.1
    graph_dim: Width = 100
    bases: Width = 30
    window_past: Window = 10
    window_future: Window = 10
    edge_query: str = "utterance"
    normalise: str = "incoming"
    relations: str = "speaker_time"
    nodal_attention: bool = True
    dropout: float = 0.5
    padded: bool = False

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Predictions of all turns.

        Returns:
          'pred'; 'states' [B, U, D] of the base; 'weights' [B, U, U] of the edges, by query
          and key; 'conv1' and 'conv2' [B, U, graph_dim], what the convolutions make.
        """
        self.check_choices(_CHOICES)
        mask = batch["utterance_mask"]
        dropout = Dropout(self.dropout, deterministic=not train)
        x = self._states(batch, mask, dropout, train=train)
        linked = self._linked(mask)
        weights = masked_softmax(self._scores(x), linked)
        links = weights.astype(x.dtype), linked.astype(x.dtype)
        first, second = self._convolutions(x, *links, batch["speaker"])
        h = jnp.concatenate([x, second], axis=-1)
        if self.nodal_attention:
            h, _ = MatchingAttention(name="attention")(h, mask)
        h = dropout(nn.relu(Linear(self.graph_dim, name="linear")(h)))
        pred = Linear(self.spec.num_outputs, name="out")(h)
        out = {"states": x, "weights": weights, "conv1": first, "conv2": second}
        return {"pred": self.squeeze_single(pred), **out}

    def _states(
        self, batch: Batch, mask: jax.Array, dropout: Dropout, *, train: bool
    ) -> jax.Array:
        """The utterances in their context: [B, U, 2 hidden]."""
        x = features(batch, self.spec.modalities)
        if self.base == "none":
            return Linear(2 * self.hidden, name="base")(x)
        if self.base == "dialogue_rnn":
            forward, back, _ = parties.both_directions(
                x,
                batch["speaker"],
                mask,
                parties=self.spec.speakers,
                train=train,
                global_dim=self.global_dim,
                party_dim=self.party_dim,
                hidden=self.hidden,
                attention=self.context_attention,
                attention_dim=self.attention_dim,
                listener=self.listener,
                dropout=self.recurrent_dropout,
                padded=self.padded,
            )
            return jnp.concatenate([forward, reverse(back, mask)], axis=-1)
        steps = jnp.ones_like(mask) if self.padded else mask
        sizes = dict(hidden=self.hidden, layers=self.recurrent_layers)
        return recurrent.both_directions(x, steps, dropout, **sizes, cell=self.base)

    def _linked(self, mask: jax.Array) -> jax.Array:
        """Which edges there are, from each utterance to those in its window: [B, U, U] bool."""
        i = jnp.arange(mask.shape[1])
        gap = i[None] - i[:, None]
        window = jnp.ones_like(gap, bool)
        if self.window_past >= 0:
            window &= gap >= -self.window_past
        if self.window_future >= 0:
            window &= gap <= self.window_future
        return window[None] & mask[:, :, None] & mask[:, None]

    def _scores(self, x: jax.Array) -> jax.Array:
        """Of each utterance's edges: [B, U, U] float32."""
        turns, dim = x.shape[1:]
        if self.edge_query == "position":
            shape = (self.spec.turns, dim)
            queries = self.param("edge_kernel", uniform(dim), shape)[:turns]
            scores = jnp.einsum("id,bjd->bij", queries, x)
        else:
            queries = Linear(dim, bias=False, name="edge")(x)
            scores = jnp.einsum("bid,bjd->bij", queries, x)
        return scores.astype(jnp.float32)

    def _convolutions(
        self, x: jax.Array, weights: jax.Array, linked: jax.Array, speaker: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """The relational convolution, and one of all edges alike: [B, U, graph_dim] each.

        Neither has an activation.
        """
        dim, width = x.shape[-1], self.graph_dim
        init = uniform(self.bases * dim)
        basis = self.param("basis", init, (self.bases, dim, width))
        root = self.param("root", init, (dim, width))
        bias = self.param("bias", init, (width,))
        shares = self._relations(speaker, init) * weights[..., None]  # [B, U, U, K]
        if self.normalise == "incoming":
            # From here on an edge goes from the first of its axes to the second.
            shares, linked = jnp.swapaxes(shares, 1, 2), jnp.swapaxes(linked, 1, 2)
        of_bases = jnp.einsum("bid,kdo->biko", x, basis)
        first = jnp.einsum("bijk,biko->bjo", shares, of_bases)
        first += jnp.einsum("bid,do->bio", x, root) + bias[None, None]
        heard = jnp.einsum("bij,bio->bjo", linked, first)
        second = Linear(width, bias=False, name="neighbours")(heard)
        return first, second + Linear(width, name="own")(first)

    def _relations(
        self, speaker: jax.Array, init: nn.initializers.Initializer
    ) -> jax.Array:
        """How much of each basis matrix an edge's relation has: [B, U, U, K]."""
        turns = speaker.shape[1]
        people = self.spec.speakers if "speaker" in self.relations else 1
        orders = 2 if "time" in self.relations else 1
        shape = (people * people * orders, self.bases)
        table = self.param("relations", init, shape)
        table = table.reshape(people, people, orders, self.bases)
        who = jax.nn.one_hot(speaker if people > 1 else 0 * speaker, people)
        who = who.astype(table.dtype)
        i = jnp.arange(turns)
        # 1 where the second is not later than the first: an edge to itself is such a one.
        order = (i[:, None] >= i[None]).astype(int) if orders > 1 else 0 * i[:, None]
        when = jax.nn.one_hot(jnp.broadcast_to(order, (turns, turns)), orders)
        # [B, U, P, O, K] by the first speaker, then [B, U, U, K] by the second and the order
        found = jnp.einsum("bip,pqok->biqok", who, table)
        return jnp.einsum("bjq,ijo,biqok->bijk", who, when.astype(table.dtype), found)
