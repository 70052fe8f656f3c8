"""Transformer encoders with a LayerNorm behind each residual connection.

Vaswani et al., "Attention Is All You Need", NeurIPS 2017, as
torch.nn.TransformerEncoder with ReLU; and CorMulT's variant of it.
"""

import flax.linen as nn
import jax

from msajax.nn.attention import MultiHeadAttention
from msajax.nn.dropout import Dropout
from msajax.nn.linear import Linear
from msajax.nn.masks import assert_steps, visible
from msajax.nn.norm import LayerNorm


class PostNormLayer(nn.Module):
    """Attention and feed-forward block, with two LayerNorms.

    Attributes:
      heads: of the attention.
      hidden: width of the feed-forward block.
      dropout: of attention weights, inside the feed-forward block, and of both
        blocks' outputs.
      norm_input: where the LayerNorm other than that behind the attention is: behind
        the feed-forward block, or on the layer's input (CorMulT, equations 4 to 7).
    """

    heads: int
    hidden: int
    dropout: float = 0.0
    norm_input: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, *, mask: jax.Array, train: bool) -> jax.Array:
        """[B, L, D], mask [B, L, L] bool -> [B, L, D]."""
        dropout = Dropout(self.dropout, deterministic=not train)
        attention = MultiHeadAttention(self.heads, self.dropout, name="attention")
        outer = LayerNorm(name="input_norm" if self.norm_input else "output_norm")
        if self.norm_input:
            x = outer(x)
        x += dropout(attention(x, mask=mask, train=train))
        x = LayerNorm(name="attention_norm")(x)
        h = dropout(nn.relu(Linear(self.hidden, name="fc1")(x)))
        h = x + dropout(Linear(x.shape[-1], name="fc2")(h))
        return h if self.norm_input else outer(h)


class PostNormEncoder(nn.Module):
    """A stack of such layers, compiled once: parameters have a leading axis [layers].

    Attributes:
      layers: number of layers.
      heads, hidden, dropout, norm_input: of each, see `PostNormLayer`.
    """

    layers: int
    heads: int
    hidden: int
    dropout: float = 0.0
    norm_input: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, *, mask: jax.Array, train: bool) -> jax.Array:
        """Encodes real steps: [B, L, D], mask [B, L] bool -> [B, L, D]."""
        assert_steps(x, mask)
        keys = visible(mask, mask, causal=False)
        stack = nn.scan(
            lambda layer, h, _: (layer(h, mask=keys, train=train), None),
            variable_axes={"params": 0, "intermediates": 0},
            split_rngs={"params": True, "dropout": True},
            length=self.layers,
            # The check would hoist a layer's constants, iotas of the weights' size too.
            check_constancy_invariants=False,
        )
        layer = PostNormLayer(
            self.heads, self.hidden, self.dropout, self.norm_input, name="layers"
        )
        return stack(layer, x, None)[0]
