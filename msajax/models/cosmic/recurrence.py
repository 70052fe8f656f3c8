"""COSMIC's recurrence: both directions in one scan, whose carry holds the states of all speakers side by side."""

from typing import Any, NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from msajax.nn.dropout import Dropout
from msajax.nn.masks import assert_steps
from msajax.nn.parties import GRU, past_attention


class Way(NamedTuple):
    """What a direction's steps read.

    Attributes:
      cells: the parameters, by the names of the cells.
      attend: the attention to earlier states.
      inputs: of each turn, [U, B, ...].
    """

    cells: dict[str, Any]
    attend: Any
    inputs: dict[str, Any]


class Direction(nn.Module):
    """The parameters of one direction, and all that its steps need of the utterances.

    Attributes:
      party_dims: widths of a speaker's internal state, external state and intent.
      global_dim, attention, attention_dim, listener, dropout: as of `COSMIC`.
    """

    global_dim: int
    party_dims: tuple[int, int, int]
    attention: str
    attention_dim: int
    listener: bool
    dropout: float

    @nn.compact
    def __call__(
        self,
        u: jax.Array,
        sense: jax.Array,
        speaker: jax.Array,
        mask: jax.Array,
        *,
        parties: int,
        train: bool,
    ) -> Way:
        """u [B, U, D], sense [B, U, 5 S] with any S, speaker and mask [B, U]."""
        assert_steps(u, mask)
        chex.assert_shape(speaker, mask.shape)
        cells, shares = {}, {}
        for name, (x, state, width) in self._reads(u, sense).items():
            dim = x.shape[-1]
            cells[name] = GRU(dim, state, width, name=f"{name}_cell")()
            shares[name] = cells[name].of_inputs(jnp.swapaxes(x, 0, 1), dim)
        attend, queries = past_attention(
            self,
            u,
            kind=self.attention,
            width=self.global_dim,
            hidden=self.attention_dim,
            squash=True,
        )
        drop = Dropout(self.dropout, deterministic=not train)
        lead, wide = mask.T.shape, sum(self.party_dims)
        shapes = {
            "global": (*lead, self.global_dim),
            "party": (*lead, parties, wide),
            "emotion": (*lead, wide),
        }
        inputs = {
            "shares": shares,
            "query": jnp.swapaxes(queries, 0, 1),
            # One mask for all steps.
            "kept": {k: drop(jnp.ones(shape, u.dtype)) for k, shape in shapes.items()},
            "who": jax.nn.one_hot(speaker.T, parties, dtype=u.dtype),
            "real": mask.T,
        }
        return Way(cells, attend, inputs)

    def _reads(
        self, u: jax.Array, sense: jax.Array
    ) -> dict[str, tuple[jax.Array, int, int]]:
        """What each cell reads of the utterance, how wide the state is that it reads, and its own."""
        effect, react, intent, others_effect, others_react = jnp.split(
            sense, 5, axis=-1
        )
        (p, r, i), g = self.party_dims, self.global_dim
        wide = p + r + i
        reads = {
            "global": (u, p + r, g),
            "reaction": (jnp.concatenate([u, react], axis=-1), g, r),
            "party": (effect, g, p),
            "intent": (intent, p, i),
            "emotion": (u, wide, wide),
        }
        if self.listener:
            heard = jnp.concatenate([u, others_react], axis=-1)
            reads["reaction_listener"] = heard, r, r
            reads["party_listener"] = others_effect, p, p
        return reads


def run(ways: list[Way], *, padded: bool) -> tuple[jax.Array, jax.Array]:
    """Both directions in one scan over the turns.

    Args:
      ways: of the directions N.
      padded: run on over the padding.

    Returns:
      The emotion's states [N, B, U, E], and the attention to earlier turns [N, B, U, U].
    """
    cells, attend, _ = jax.tree.map(lambda *x: jnp.stack(x), *ways)
    inputs = jax.tree.map(lambda *x: jnp.stack(x, axis=1), *(w.inputs for w in ways))
    turns, _, rows, _ = inputs["who"].shape
    kept = inputs["kept"]
    g, party, e = (jnp.zeros_like(kept[k][0]) for k in ("global", "party", "emotion"))
    history = jnp.zeros((len(ways), rows, turns, g.shape[-1]), g.dtype)

    def step(cells, attend, state, x, t):
        return _step(cells, attend, state, x, t, padded=padded)

    of_all = jax.vmap(step, in_axes=(0, 0, 0, 0, None))
    _, found = jax.lax.scan(
        lambda state, xs: of_all(cells, attend, state, *xs),
        (history, g, party, e),
        (inputs, jnp.arange(turns)),
    )
    states, weights = (jnp.moveaxis(x, 0, 2) for x in found)
    return states, weights


def _step(cells, attend, state, x, t, *, padded):
    """One turn: (history [B, U, G], g [B, G], the speakers' states [B, P, E], e [B, E])."""
    history, g, party, e = state
    who, real, kept = x["who"], x["real"][:, None], x["kept"]

    def cell(name, read, h):
        return cells[name](x["shares"][name], read, h)

    def of_speaker(party):
        return jnp.einsum("bp,bpe->be", who, party)

    ends = cells["party"].width, cells["party"].width + cells["reaction"].width
    own = of_speaker(party)
    q, r, i = jnp.split(own, ends, axis=-1)
    new_g = cell("global", own[:, : ends[1]], g)
    c, weights = attend(x["query"], history, t)
    q, r = cell("party", c, q), cell("reaction", c, r)
    spoken = jnp.concatenate([q, r, cell("intent", q, i)], axis=-1)
    heard = party
    if "party_listener" in cells:
        qs, rs, wants = jnp.split(party, ends, axis=-1)
        qs, rs = cell("party_listener", q, qs), cell("reaction_listener", r, rs)
        heard = jnp.concatenate([qs, rs, wants], axis=-1)
    speaks = (who > 0) & real
    new_party = jnp.where(speaks[..., None], spoken[:, None], heard)
    new_e = cell("emotion", of_speaker(new_party), e)
    goes_on = real | padded
    g = jnp.where(goes_on, new_g * kept["global"], g)
    party = jnp.where(goes_on[..., None], new_party * kept["party"], party)
    e = jnp.where(goes_on, new_e * kept["emotion"], e)
    history = jax.lax.dynamic_update_index_in_dim(history, g, t, axis=1)
    return (history, g, party, e), (e, weights)
