"""MulT's crossmodal Transformer, whose layers attend from one sequence to another.

Tsai et al., "Multimodal Transformer for Unaligned Multimodal Language
Sequences", ACL 2019. As in the authors' code, keys and values are normalised
by the same LayerNorm as the queries, the source is not updated from layer to
layer, and queries do not attend to each other.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from msajax.nn.attention import MultiHeadAttention
from msajax.nn.dropout import Dropout
from msajax.nn.long_attention import SAVED
from msajax.nn.masks import assert_steps, visible
from msajax.nn.norm import LayerNorm
from msajax.nn.positions import position_vectors


class CrossmodalLayer(nn.Module):
    """Pre-LN attention and feed-forward block.

    Attributes:
      heads: of the attention.
      expansion: width of the feed-forward block over the sequence's.
      attention_dropout: of attention weights.
      relu_dropout: inside the feed-forward block.
      residual_dropout: of both blocks' outputs.
    """

    heads: int
    expansion: int = 4
    attention_dropout: float = 0.0
    relu_dropout: float = 0.0
    residual_dropout: float = 0.0

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        source: tuple[jax.Array, jax.Array] | None,
        *,
        mask: jax.Array,
        train: bool,
    ) -> jax.Array:
        """One layer.

        Args:
          x: [B, Q, D] float32.
          source: keys and values, [B, K, D] each; None attends to x itself.
          mask: [B, Q, K] bool.
          train: apply dropout.

        Returns:
          [B, Q, D] float32.
        """
        dim = x.shape[-1]
        xavier = nn.initializers.xavier_uniform()
        residual = Dropout(self.residual_dropout, deterministic=not train)
        norm = LayerNorm(name="attention_norm")
        attention = MultiHeadAttention(
            self.heads, self.attention_dropout, name="attention"
        )
        keys_values = () if source is None else map(norm, source)
        x += residual(attention(norm(x), *keys_values, mask=mask, train=train))
        h = LayerNorm(name="feed_forward_norm")(x)
        h = nn.relu(nn.Dense(self.expansion * dim, kernel_init=xavier, name="fc1")(h))
        h = Dropout(self.relu_dropout, deterministic=not train)(h)
        return x + residual(nn.Dense(dim, kernel_init=xavier, name="fc2")(h))


class CrossmodalEncoder(nn.Module):
    """A stack of layers over the scaled sequence and its positions, and a last LayerNorm.

    Attributes:
      heads: of the attention.
      layers: number of layers.
      expansion: width of the feed-forward blocks over the sequence's.
      causal: hide later keys, see `msajax.nn.masks.visible`.
      position_embedding: add sinusoidal position vectors.
      fairseq_zero_pos, counted_pos: quirks of references, see `msajax.nn.positions`.
      attention_dropout, relu_dropout, residual_dropout: of the layers.
      embed_dropout: of the embedded sequences; keys and values are dropped
        independently, as in the reference.
      remat: compute the activations of a layer again in the backward pass.
    """

    heads: int
    layers: int
    expansion: int = 4
    causal: bool = True
    position_embedding: bool = True
    fairseq_zero_pos: bool = False
    counted_pos: bool = False
    attention_dropout: float = 0.0
    relu_dropout: float = 0.0
    residual_dropout: float = 0.0
    embed_dropout: float = 0.0
    remat: bool = False

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        source: jax.Array | None = None,
        *,
        mask: jax.Array,
        source_mask: jax.Array | None = None,
        train: bool,
    ) -> jax.Array:
        """Encodes x, attending to the source.

        Args:
          x: [B, Q, D] float32.
          source: [B, K, D] float32; None attends to x itself.
          mask: [B, Q] bool, real steps of x.
          source_mask: [B, K] bool, real steps of the source.
          train: apply dropout.

        Returns:
          [B, Q, D] float32; padded steps hold values of no meaning.
        """
        dropout = Dropout(self.embed_dropout, deterministic=not train)
        keys = mask if source_mask is None else source_mask
        assert_steps(x, mask)
        assert_steps(x if source is None else source, keys)
        visible_keys = visible(mask, keys, causal=self.causal)
        h = dropout(self._embed(x))
        keys_values = None
        if source is not None:
            embedded = self._embed(source)
            keys_values = dropout(embedded), dropout(embedded)

        def apply(layer, h, _):
            return layer(h, keys_values, mask=visible_keys, train=train), None

        if self.remat:  # the scan keeps the compiler from merging the two passes
            policy = jax.checkpoint_policies.save_only_these_names(SAVED)
            apply = nn.remat(apply, prevent_cse=False, policy=policy)
        # Compiled once, not once a layer: parameters have a leading axis [layers].
        stack = nn.scan(
            apply,
            variable_axes={"params": 0, "intermediates": 0},
            split_rngs={"params": True, "dropout": True},
            length=self.layers,
            # The check would hoist a layer's constants, iotas of the weights' size too.
            check_constancy_invariants=False,
        )
        layer = CrossmodalLayer(
            heads=self.heads,
            expansion=self.expansion,
            attention_dropout=self.attention_dropout,
            relu_dropout=self.relu_dropout,
            residual_dropout=self.residual_dropout,
            name="layers",
        )
        h, _ = stack(layer, h, None)
        return LayerNorm(name="norm")(h)

    def _embed(self, x: jax.Array) -> jax.Array:
        h = x.astype(jnp.float32) * math.sqrt(x.shape[-1])
        if self.position_embedding:
            quirks = dict(
                fairseq_zero_pos=self.fairseq_zero_pos, counted_pos=self.counted_pos
            )
            h += position_vectors(x, **quirks)
        return h.astype(x.dtype)
