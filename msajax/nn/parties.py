"""DialogueRNN's recurrence: states of a dialogue, of each of its speakers, and of the emotion, in one scan.

Majumder et al., "DialogueRNN: An Attentive RNN for Emotion Detection in Conversations",
AAAI 2019, in the form of declare-lab/conv-emotion @ 6128ca2.
"""

from typing import Any, NamedTuple

import chex
import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from msajax.nn.attention import masked_softmax
from msajax.nn.dropout import Dropout
from msajax.nn.linear import Linear, uniform
from msajax.nn.masks import assert_steps
from msajax.nn.turns import reverse

ATTENTIONS = ("simple", "general", "general2", "concat", "dot")


class PartyRNN(nn.Module):
    """One direction.

    Attributes:
      global_dim: width of the dialogue's state.
      party_dim: width of each speaker's state.
      hidden: width of the emotion's state.
      attention: over the dialogue's earlier states, one of `ATTENTIONS`.
      attention_dim: of the attention 'concat'.
      squash: tanh of the scores of 'general2', as all copies of it but DialogueRNN's have it.
      listener: those who do not speak change too, by a cell of their own.
      dropout: of all new states.
      padded: run on over the padding, as the reference; nothing real reads it.
    """

    global_dim: int
    party_dim: int
    hidden: int
    attention: str = "general"
    attention_dim: int = 100
    squash: bool = True
    listener: bool = False
    dropout: float = 0.0
    padded: bool = False

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        speaker: jax.Array,
        mask: jax.Array,
        *,
        parties: int,
        train: bool,
    ) -> tuple[jax.Array, jax.Array]:
        """The emotion's states, and the attention over earlier turns.

        Args:
          x: [B, U, D] float32.
          speaker: [B, U] int32, below parties.
          mask: [B, U] bool, padded at the end.
          parties: number of speakers P.
          train: apply dropout.

        Returns:
          [B, U, hidden], and the weights [B, U, U] by turn and earlier turn.
        """
        assert_steps(x, mask)
        chex.assert_shape(speaker, mask.shape)
        chex.assert_type(speaker, int)
        rows, turns, dim = x.shape
        cell = {
            "global": GRU(dim, self.party_dim, self.global_dim, name="global_cell"),
            "party": GRU(dim, self.global_dim, self.party_dim, name="party_cell"),
            "emotion": GRU(0, self.party_dim, self.hidden, name="emotion_cell"),
        }
        if self.listener:
            sizes = (dim, self.party_dim, self.party_dim)
            cell["listener"] = GRU(*sizes, name="listener_cell")
        params = {name: gru() for name, gru in cell.items()}
        attend, queries = past_attention(
            self,
            x,
            kind=self.attention,
            width=self.global_dim,
            hidden=self.attention_dim,
            squash=self.squash,
        )
        x = jnp.swapaxes(x, 0, 1)  # time goes first from here on
        shares = {k: p.of_inputs(x, dim) for k, p in params.items() if k != "emotion"}
        of_each = {"party", "listener"}  # and the others have one state
        shapes: dict[str, tuple[int, ...]] = {
            k: (turns, rows, *(parties,) * (k in of_each), p.width)
            for k, p in params.items()
        }
        drop = Dropout(self.dropout, deterministic=not train)
        # One mask for all steps.
        kept = {k: drop(jnp.ones(shape, x.dtype)) for k, shape in shapes.items()}

        def step(state, inputs):
            t, share, kept, query, who, real = inputs
            history, g, q, e = state
            own = jnp.einsum("bp,bpd->bd", who, q)
            new_g = params["global"](share["global"], own, g) * kept["global"]
            c, weights = attend(query, history, t)
            spoken = params["party"](share["party"], c, q) * kept["party"]
            heard = q
            if self.listener:
                said = jnp.einsum("bp,bpd->bd", who, spoken)
                heard = params["listener"](share["listener"], said, q)
                heard *= kept["listener"]
            q = jnp.where((who * real)[..., None] > 0, spoken, heard)
            now = jnp.einsum("bp,bpd->bd", who, q)
            new_e = params["emotion"](None, now, e) * kept["emotion"]
            goes_on = real > -self.padded  # everywhere, if padded
            e, g = jnp.where(goes_on, new_e, e), jnp.where(goes_on, new_g, g)
            history = jax.lax.dynamic_update_index_in_dim(history, g, t, axis=1)
            return (history, g, q, e), (e, weights)

        zeros = [
            jnp.zeros((rows, *shape), x.dtype)
            for shape in (
                *((turns, self.global_dim), (self.global_dim,)),
                *((parties, self.party_dim), (self.hidden,)),
            )
        ]
        who = jax.nn.one_hot(speaker.T, parties, dtype=x.dtype)
        real = mask.T[..., None].astype(x.dtype)
        queries = jnp.swapaxes(queries, 0, 1)
        inputs = (jnp.arange(turns), shares, kept, queries, who, real)
        _, states = jax.lax.scan(step, tuple(zeros), inputs)
        states, weights = (jnp.swapaxes(x, 0, 1) for x in states)
        return states, weights


def both_directions(
    x: jax.Array,
    speaker: jax.Array,
    mask: jax.Array,
    *,
    parties: int,
    train: bool,
    **settings: Any,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Two `PartyRNN`s, 'forward' and 'backward' of the calling module.

    Args:
      x, speaker, mask, parties, train: as `PartyRNN.__call__` takes them.
      **settings: attributes of both.

    Returns:
      Their states [B, U, hidden], the backward ones in the order of reading, and the
      attention of the forward one.
    """
    forward = PartyRNN(**settings, name="forward")
    backward = PartyRNN(**settings, name="backward")
    states, context = forward(x, speaker, mask, parties=parties, train=train)
    x, speaker = reverse(x, mask), reverse(speaker, mask)
    back, _ = backward(x, speaker, mask, parties=parties, train=train)
    return states, back, context


def past_attention(
    module: nn.Module,
    x: jax.Array,
    *,
    kind: str,
    width: int,
    hidden: int,
    squash: bool,
) -> tuple["PastAttention", jax.Array]:
    """Attention of turns to earlier states, with parameters of the calling module.

    Args:
      module: whose compact method calls.
      x: [B, U, D], the utterances.
      kind: one of `ATTENTIONS`.
      width: of the states.
      hidden: of 'concat'.
      squash: tanh of the scores of 'general2'.

    Returns:
      The attention, and what of the utterances it is called with: [B, U, A].
    """
    vector = matrix = None
    queries = x
    if kind in ("general", "general2"):
        queries = Linear(width, bias=kind == "general2", name="attention")(x)
    elif kind == "simple":
        vector = module.param("attention_vector", uniform(width), (width,))
    elif kind == "concat":
        fan = width + x.shape[-1]
        kernel = module.param("attention_kernel", uniform(fan), (fan, hidden))
        matrix, queries = kernel[:width], x @ kernel[width:]
        vector = module.param("attention_vector", uniform(hidden), (hidden,))
    return PastAttention(vector, matrix, squash and kind == "general2"), queries


@flax.struct.dataclass
class PastAttention:
    """Attention over earlier states."""

    vector: jax.Array | None
    matrix: jax.Array | None
    squash: bool = flax.struct.field(pytree_node=False)

    def __call__(
        self, query: jax.Array, history: jax.Array, t: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """query [B, A] and the states [B, U, D], those before t -> [B, D], 0 at the first; weights [B, U]."""
        if self.matrix is not None and self.vector is not None:
            h = jnp.tanh(history @ self.matrix + query[:, None])
            scores = jnp.einsum("bua,a->bu", h, self.vector)
        elif self.vector is not None:
            scores = jnp.einsum("bud,d->bu", history, self.vector)
        else:
            scores = jnp.einsum("bud,bd->bu", history, query)
        scores = jnp.tanh(scores) if self.squash else scores
        past = jnp.arange(history.shape[1])[None] < t
        weights = masked_softmax(scores.astype(jnp.float32), past)
        found = jnp.einsum("bu,bud->bd", weights.astype(history.dtype), history)
        return found, weights


class Cell(NamedTuple):
    """The parameters of a torch.nn.GRUCell (gates r, z, n), whose input is utterance and state."""

    kernel: jax.Array
    recurrent: jax.Array
    bias: jax.Array
    recurrent_bias: jax.Array

    @property
    def width(self) -> int:
        """Of its state."""
        return self.recurrent.shape[0]

    def of_inputs(self, x: jax.Array, dim: int) -> jax.Array:
        """The utterances' share of the gates, [U, B, D] -> [U, B, 3 H]."""
        return x @ self.kernel[:dim]

    def __call__(self, share: jax.Array | None, x: jax.Array, h: jax.Array):
        """share [B, 3 H], x [B, D], h [B, H] or, of all parties, [B, P, H] -> like h."""
        z = x @ self.kernel[len(self.kernel) - x.shape[-1] :] + self.bias[None]
        z = z if share is None else z + share
        lead = (None,) * (h.ndim - 1)
        y = h @ self.recurrent + self.recurrent_bias[lead]
        z = z[:, None] if h.ndim > 2 else z
        z_r, z_z, z_n = jnp.split(z, 3, axis=-1)
        y_r, y_z, y_n = jnp.split(y, 3, axis=-1)
        r, keep = nn.sigmoid(z_r + y_r), nn.sigmoid(z_z + y_z)
        return (1 - keep) * jnp.tanh(z_n + r * y_n) + keep * h


class GRU(nn.Module):
    """Makes a `Cell`."""

    dim: int
    state: int
    hidden: int

    @nn.compact
    def __call__(self) -> Cell:
        """For utterances of width dim beside a state of width state."""
        init, gates = uniform(self.hidden), (3 * self.hidden,)
        return Cell(
            self.param("kernel", init, (self.dim + self.state, *gates)),
            self.param("recurrent_kernel", init, (self.hidden, *gates)),
            self.param("bias", init, gates),
            self.param("recurrent_bias", init, gates),
        )
