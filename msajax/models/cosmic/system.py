"""The system COSMIC."""

from typing import Annotated, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from annotated_types import Gt

from msajax.data.spec import RELATIONS
from msajax.models.base import Batch, Model, Outputs
from msajax.models.cosmic.recurrence import Direction, run
from msajax.nn.dropout import Dropout
from msajax.nn.linear import Linear
from msajax.nn.norm import BatchNorm, LayerNorm
from msajax.nn.parties import ATTENTIONS
from msajax.nn.turns import MatchingAttention, features, reverse

Width = Annotated[int, Gt(0)]
# Which of RoBERTa's layers are read.
_LAYERS = {
    "concat": (0, 1, 2, 3),
    "concat_two": (0, 1),
    "mean": (0, 1, 2, 3),
    **{f"layer_{i + 1}": (i,) for i in range(4)},
    "weighted": (0, 1, 2, 3),
    "single": (0,),
}
_PARTS = 4  # layers in `text`, but for 'single'
_CHOICES = {
    "norm": ("none", "layer", "dialogue", "batch"),
    "combine": tuple(_LAYERS),
    "context_attention": ATTENTIONS,
}
_EPSILON = 1e-5  # torch's, of the norm of a dialogue


class COSMIC(Model):
    """COSMIC, on RoBERTa's layers of the text and COMET's vectors of common sense.

    `text` holds four layers of the encoder side by side, `commonsense` the vectors of five
    relations (`msajax.data.spec.RELATIONS`).

    Attributes:
      norm: what normalises each layer: 'none', 'layer' (over its features), 'dialogue' (over the turns
        and features of a dialogue, without parameters) or 'batch'. The reference numbers
        them 0, 1, 2, 3.
      combine: what is made of the layers: 'concat', 'concat_two' (of the first two), 'mean',
        'layer_1' to 'layer_4', 'weighted' (a learned weight each); the reference numbers
        them 0, 1, 2, 3 to 6, 7. 'single' takes the text as one representation of any width.
      commonsense: read common sense; False leaves it out of all cells, which are as much
        narrower.
      hidden: width of the utterances and of the layer in front of the output.
      global_dim: width of the dialogue's state.
      party_dim, reaction_dim, intent_dim: widths of each speaker's states: the internal one,
        the external one and the intent; the emotion's state is as wide as all three.
      context_attention: how a turn attends to the dialogue's earlier states, one of
        'simple', 'general', 'general2', 'concat' and 'dot'.
      attention_dim: width of the attention 'concat'.
      listener: the internal and external states of those who do not speak change too, by
        cells of their own.
      attention: each utterance attends to all of its dialogue.
      residual: add the utterance in front of the output.
      recurrent_dropout: dropout rate of all states after each turn, and of the emotion's
        states once more behind the recurrence.
      dropout: dropout rate in front of the output.
      padded: as the reference, run on over the padding, which nothing real reads, and count
        it in the norms 'dialogue' and 'batch'.
    """

    view: ClassVar[str] = "dialogue"
    own_fields: ClassVar[tuple[str, ...]] = ("commonsense",)

    norm: str = "batch"
    combine: str = "mean"
    commonsense: bool = True
    hidden: Width = 100
    global_dim: Width = 150
    party_dim: Width = 150
    reaction_dim: Width = 150
    intent_dim: Width = 150
    context_attention: str = "general2"
    attention_dim: Width = 100
    listener: bool = False
    attention: bool = True
    residual: bool = False
    recurrent_dropout: float = 0.1
    dropout: float = 0.25
    padded: bool = False

    @property
    def layers_read(self) -> tuple[int, ...]:
        """Which of the text's layers are read, from 0 on."""
        return _LAYERS[self.combine]

    @property
    def notes(self) -> tuple[str, ...]:
        """As what the text is read."""
        width = self.spec.dims[0]
        if self.combine == "single" or width % _PARTS:
            return ()
        return (
            f"the text's {width} features are read as {_PARTS} layers of "
            f"{width // _PARTS} (config.model.combine={self.combine})",
        )

    @nn.compact
    def __call__(self, batch: Batch, *, train: bool) -> Outputs:
        """Predictions of all turns.

        Returns:
          'pred'; 'utterances' [B, U, hidden]; the emotion's states 'forward' and 'backward'
          [B, U, party_dim + reaction_dim + intent_dim], the last in the order of reading,
          and 'states', both in that of the turns; 'context' [B, U, U], the attention to
          earlier turns (forward); 'weights' [B, U, U], that to all turns.
        """
        self.check_choices(_CHOICES)
        self._check_widths()
        mask = batch["utterance_mask"]
        u = Linear(self.hidden, name="project")(self._text(batch, train=train))
        forward, backward, context = self._read(batch, u, train=train)
        out: Outputs = {"utterances": u, "forward": forward, "backward": backward}
        h = jnp.concatenate([forward, reverse(backward, mask)], axis=-1)
        out |= {"states": h, "context": context}
        h = Dropout(self.recurrent_dropout)(h, deterministic=not train)
        if self.attention:
            h, out["weights"] = MatchingAttention(name="attention")(h, mask)
        h = nn.relu(Linear(self.hidden, name="linear")(h))
        h = Dropout(self.dropout)(h, deterministic=not train)
        pred = Linear(self.spec.num_outputs, name="out")(h + u if self.residual else h)
        return {"pred": self.squeeze_single(pred), **out}

    def _check_widths(self) -> None:
        """Refuses features that are not what the options say.

        Raises:
          ValueError: says what to give.
        """
        width, sense = self.spec.dims[0], self.spec.commonsense
        if self.combine != "single" and width % _PARTS:
            raise ValueError(
                f'config.model.combine is "{self.combine}", of {_PARTS} layers of the text '
                f"side by side (RoBERTa's, {_PARTS} x 1024), but the text has {width} "
                'features; set it to "single", which takes any'
            )
        if self.commonsense and not sense:
            raise ValueError(
                "COSMIC reads common sense, but the data has none: put the file of COMET's "
                "vectors beside that of RoBERTa's (msajax/data/README.md), give an .npz with "
                "`commonsense`, or set config.model.commonsense=False"
            )
        if self.commonsense and sense % len(RELATIONS):
            raise ValueError(
                f"`commonsense` has {sense} features, but must have as many of each of "
                f"{len(RELATIONS)} relations: {', '.join(RELATIONS)}"
            )

    def _text(self, batch: Batch, *, train: bool) -> jax.Array:
        """The utterances' layers, normalised and combined: [B, U, D]."""
        x = features(batch, ("text",))
        layers = [x] if self.combine == "single" else jnp.split(x, _PARTS, axis=-1)
        own = batch["text_mask"] & batch["utterance_mask"]
        counted = jnp.ones_like(own) if self.padded else own
        parts = []
        for i in self.layers_read:
            part, name = layers[i], f"norm_{i + 1}"
            if self.norm == "layer":
                part = LayerNorm(name=name)(part)
            elif self.norm == "dialogue":
                part = _norm_of_dialogue(part, counted)
            elif self.norm == "batch":
                where = counted & batch["valid"][:, None]
                part = BatchNorm(name=name)(part, where=where, train=train)
            parts.append(jnp.where(counted[..., None], part, 0))
        if "concat" in self.combine:
            return jnp.concatenate(parts, axis=-1)
        weights = jnp.full(len(parts), 1 / len(parts))
        if self.combine == "weighted":
            start = nn.initializers.constant(1 / len(parts))
            weights = self.param("layer_weights", start, (len(parts),))
        return jnp.einsum("k,kbud->bud", weights.astype(x.dtype), jnp.stack(parts))

    def _read(
        self, batch: Batch, u: jax.Array, *, train: bool
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """The emotion's states in both directions, and the attention of the forward one."""
        mask, speaker = batch["utterance_mask"], batch["speaker"]
        sense = u[..., :0]
        if self.commonsense:
            sense = batch["commonsense"].astype(u.dtype)

        def way(name: str, u: jax.Array, sense: jax.Array, speaker: jax.Array):
            direction = Direction(
                global_dim=self.global_dim,
                party_dims=(self.party_dim, self.reaction_dim, self.intent_dim),
                attention=self.context_attention,
                attention_dim=self.attention_dim,
                listener=self.listener,
                dropout=self.recurrent_dropout,
                name=name,
            )
            parties = self.spec.speakers
            return direction(u, sense, speaker, mask, parties=parties, train=train)

        back = [reverse(x, mask) for x in (u, sense, speaker)]
        ways = [way("forward", u, sense, speaker), way("backward", *back)]
        states, weights = run(ways, padded=self.padded)
        return states[0], states[1], weights[0]


def _norm_of_dialogue(x: jax.Array, counted: jax.Array) -> jax.Array:
    """x [B, U, D] less its mean, over its deviation, of the turns that count [B, U] of each dialogue."""
    where, axes = counted[..., None], (1, 2)
    count = jnp.maximum(jnp.sum(where, axes, keepdims=True) * x.shape[-1], 1)

    def mean(values):
        return jnp.sum(jnp.where(where, values, 0), axes, keepdims=True) / count

    y = x.astype(jnp.float32)
    y = y - mean(y)
    return (y * jax.lax.rsqrt(mean(jnp.square(y)) + _EPSILON)).astype(x.dtype)
