"""What the encoders share: the stack of layers, the place to inject, the outputs."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from annotated_types import Ge, Gt, Le, Lt

from msajax.nn.activations import gelu
from msajax.nn.attention import attend, watched

# What a config.json may say: more than any encoder has, less than takes minutes to build.
Count = Annotated[int, Ge(1), Le(2**24)]
Width = Annotated[int, Ge(1), Le(2**17)]
Layers = Annotated[int, Ge(1), Le(500)]
Rate = Annotated[float, Ge(0), Lt(1)]
Epsilon = Annotated[float, Gt(0), Le(1)]

# By the names in the config.json of Hugging Face's checkpoints.
ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "gelu": gelu,
    "gelu_new": nn.gelu,
    "relu": nn.relu,
    "tanh": jnp.tanh,
}

# Source: initializer_range of the released BERT, RoBERTa and XLNet.
INIT = nn.initializers.normal(0.02)

Inject = Callable[[jax.Array], jax.Array]
# One or several.
Injects = Inject | Sequence[Inject]
Places = int | Sequence[int]
Context = tuple[jax.Array | None, ...]
Join = Callable[[jax.Array, jax.Array], jax.Array]


def check_heads(dim: int, heads: int) -> None:
    """Refuses a number of attention heads that does not divide the width."""
    if heads < 1 or dim % heads:
        raise ValueError(
            f"{heads} attention heads (num_attention_heads, n_head) do not divide a width "
            f"of {dim} (hidden_size, d_model)"
        )


def check_length(tokens: int, longest: int | None) -> None:
    """Refuses a sequence that is longer than the table of positions, where there is one."""
    if longest is not None and tokens > longest:
        raise ValueError(
            f"{tokens} tokens, but the encoder has positions for {longest}; prepare the "
            "text with that max_length"
        )


def injections(
    length: int,
    inject_after: Places | None,
    inject: Callable[..., Any] | Sequence[Callable[..., Any]] | None,
    *,
    of: str = "encoder",
) -> dict[int, Callable[..., Any]]:
    """{number of layers before it: the injection} of the arguments of `LayerStack`.

    Raises:
      ValueError: as `LayerStack`.
    """
    if inject_after is None and inject is None:
        return {}
    places = (inject_after,) if isinstance(inject_after, int) else inject_after
    changes = (inject,) if callable(inject) else inject
    if places is None or changes is None or len(places) != len(changes):
        raise ValueError(
            "inject and inject_after go together; got one of them, or not as many of each"
        )
    if list(places) != sorted({*places} & {*range(length + 1)}):
        raise ValueError(
            f"inject_after={inject_after}, but the {of} has {length} layers: 0 is after "
            f"the embeddings, {length} after the last layer, and several go up"
        )
    return dict(zip(places, changes, strict=True))


class Encoded(NamedTuple):
    """Outputs of an encoder.

    Attributes:
      hidden: [B, L, D] each: the embeddings, then the output of each layer; what
        was injected is in them.
      pooled: [B, D], one vector for each sequence; None without a pooler.
    """

    hidden: tuple[jax.Array, ...]
    pooled: jax.Array | None

    @property
    def last(self) -> jax.Array:
        """The last hidden state, [B, L, D]."""
        return self.hidden[-1]


class LayerStack(nn.Module):
    """Layers '0', '1', ... in sequence, with a place to inject between two of them.

    `scan` and `remat` change how it runs; the parameters are the same.

    Attributes:
      make_layer: a layer from its name; called with (x, *context, train=train).
      length: number of layers.
      remat: compute the activations of a layer again in the backward pass.
      scan: compile one layer for all, but where intermediates are captured.
    """

    make_layer: Callable[..., nn.Module]
    length: int
    remat: bool = False
    scan: bool = False

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        *context: jax.Array | None,
        train: bool,
        inject_after: Places | None = None,
        inject: Injects | None = None,
        behind_first: Join | None = None,
        stays: jax.Array | None = None,
    ) -> tuple[jax.Array, ...]:
        """Runs the layers.

        Args:
          x: [B, L, D], the embeddings; or a tuple of arrays, where the layers and what is
            injected map one to one.
          context: further inputs of every layer: masks, positions.
          train: apply dropout.
          inject_after: number of layers before the injection, 0 to length; or before
            each of several, in ascending order.
          inject: maps the hidden states there, [B, L, D], to the next layer's input; or
            as many functions as there are places.
          behind_first: maps the input and the output of the first layer, [B, L, D], to
            what is its hidden state instead.
          stays: [length] bool, False of a layer that is passed over.

        Returns:
          length + 1 hidden states, [B, L, D] each.

        Raises:
          ValueError: there is no such layer, or the two do not fit each other.
        """
        changes = injections(self.length, inject_after, inject)
        layers = [self.make_layer(name=str(i)) for i in range(self.length)]
        plain = self.is_initializing() or self.is_mutable_collection("intermediates")
        run = self._scan if self.scan and not plain else self._loop
        stops = {*changes, self.length, *((1,) if behind_first else ())}
        hidden, start = [x], 0
        for stop in sorted(stops):
            kept = None if stays is None else stays[start:stop]
            hidden += run(layers[start:stop], hidden[-1], context, train, kept)
            if behind_first is not None and stop == 1:
                hidden[1] = behind_first(hidden[0], hidden[1])
            hidden[-1], start = changes.get(stop, lambda x: x)(hidden[-1]), stop
        return tuple(hidden)

    def _loop(
        self,
        layers: list[nn.Module],
        x: jax.Array,
        context: Context,
        train: bool,
        stays: jax.Array | None,
    ) -> list[jax.Array]:
        def apply(layer, x):
            return layer(x, *context, train=train)

        if self.remat:
            apply = nn.remat(apply)
        outputs = []
        for i, layer in enumerate(layers):
            y = apply(layer, x)
            x = y if stays is None else jnp.where(stays[i], y, x)
            outputs.append(x)
        return outputs

    def _scan(
        self,
        layers: list[nn.Module],
        x: jax.Array,
        context: Context,
        train: bool,
        stays: jax.Array | None,
    ) -> list[jax.Array]:
        if not layers:
            return []
        params = [layer.variables["params"] for layer in layers]
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *params)
        keys = None
        if train and self.has_rng("dropout"):
            keys = jax.random.split(self.make_rng("dropout"), len(layers))
        apply: Callable[..., Any] = self.make_layer(parent=None).apply

        def step(x, weights):
            params, key, stays = weights
            rngs = None if key is None else {"dropout": key}
            y = apply({"params": params}, x, *context, train=train, rngs=rngs)
            x = y if stays is None else jnp.where(stays, y, x)
            return x, x

        if self.remat:
            step = jax.checkpoint(step, prevent_cse=False)
        # The last output is the carry's, so that the others are dropped where unused.
        last, outputs = jax.lax.scan(step, x, (stacked, keys, stays))
        before = range(len(layers) - 1)
        return [*(jax.tree.map(lambda y, i=i: y[i], outputs) for i in before), last]


def dense(features: int, dtype: Any, name: str) -> nn.Dense:
    """A layer with the initial values of BERT and most others."""
    return nn.Dense(features, dtype=dtype, kernel_init=INIT, name=name)


def layer_norm(epsilon: float, dtype: Any, name: str, **settings: Any) -> nn.LayerNorm:
    """A LayerNorm as PyTorch's."""
    return nn.LayerNorm(
        epsilon, dtype=dtype, use_fast_variance=False, name=name, **settings
    )


def attend_watched(
    module: nn.Module, q: jax.Array, k: jax.Array, v: jax.Array, **settings: Any
) -> jax.Array:
    """`nn.attention.attend` with heads joined; its weights are among the module's intermediates.

    Args:
      module: that attends.
      q, k, v: [B, L, H, E].
      settings: of `attend`.

    Returns:
      [B, L, H E].
    """
    h = attend(q, k, v, see=watched(module), **settings)
    return h.reshape(*h.shape[:2], -1)


def by_key(scores: jax.Array) -> jax.Array:
    """Scores of queries by distance to scores by key: [B, H, Q, 2 Q] -> [B, H, Q, Q].

    The distances are Q, Q-1, ..., 1-Q from key to query: query q finds key k at index
    Q - q + k. Read row by row with one element fewer in each, row q begins q elements
    further left.
    """
    b, h, q, p = scores.shape
    flat = scores.reshape(b, h, q * p)[:, :, q:]
    return flat.reshape(b, h, q, p - 1)[..., :q]
