"""The layers of the voice encoders: BERT's blocks, with their norms behind or before them."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax

from msajax.encoders.layers import ACTIVATIONS, attend_watched, dense, layer_norm
from msajax.nn.dropout import Dropout


class Layer(nn.Module):
    """A layer with its norms behind its blocks, or (do_stable_layer_norm) before them."""

    config: Any
    attention: Callable[..., nn.Module]
    dtype: Any

    @nn.compact
    def __call__(self, x, *context, train):
        """[B, F, D] and what the attention takes -> [B, F, D]."""
        config = self.config
        first, second = (
            layer_norm(config.layer_norm_eps, self.dtype, name)
            for name in ("layer_norm", "final_layer_norm")
        )
        attention = self.attention(config, self.dtype, name="attention")
        forward = _FeedForward(config, self.dtype, name="feed_forward")
        dropout = Dropout(config.hidden_dropout, deterministic=not train)
        if config.do_stable_layer_norm:
            y = x + dropout(attention(first(x), *context, train=train))
            y += forward(second(y), train=train)
        else:
            y = first(x + dropout(attention(x, *context, train=train)))
            y = second(y + forward(y, train=train))
        return y


class _FeedForward(nn.Module):
    config: Any
    dtype: Any

    @nn.compact
    def __call__(self, x, *, train):
        config = self.config
        h = dense(config.intermediate_size, self.dtype, "intermediate_dense")(x)
        h = ACTIVATIONS[config.hidden_act](h)
        h = Dropout(config.activation_dropout, deterministic=not train)(h)
        h = dense(config.hidden_size, self.dtype, "output_dense")(h)
        return Dropout(config.hidden_dropout, deterministic=not train)(h)


class Attention(nn.Module):
    """Self-attention of the frames."""

    config: Any
    dtype: Any

    @nn.compact
    def __call__(self, x, frames, *, train):
        """[B, F, D], mask [B, F] -> [B, F, D]."""
        return self_attention(self, x, frames, None, train=train)


def self_attention(
    module: Any, x: jax.Array, frames: jax.Array, bias: jax.Array | None, *, train: bool
) -> jax.Array:
    """Attention of the frames, with a bias where the network has any.

    Args:
      module: gets the parameters; has a config and a dtype.
      x: [B, F, D].
      frames: [B, F] bool, the real ones.
      bias: [B, H, F, F], or 1 for B.
      train: apply dropout.

    Returns:
      [B, F, D].
    """
    config = module.config

    def project(name: str) -> jax.Array:  # [B, F, D] -> [B, F, H, D/H]
        y = dense(config.hidden_size, module.dtype, name)(x)
        return y.reshape(*y.shape[:2], config.num_attention_heads, -1)

    q, k, v = (project(name) for name in ("q_proj", "k_proj", "v_proj"))
    rate = config.attention_dropout
    dropout = Dropout(rate, deterministic=False) if train and rate else None
    visible = frames[:, None, None]
    h = attend_watched(module, q, k, v, mask=visible, bias=bias, dropout=dropout)
    return dense(config.hidden_size, module.dtype, "out_proj")(h)
