"""Cross-diffusion attention (CDA): two streams of tokens learn from each other's self-attention.

Wang et al., "MutualFormer: Multi-Modality Representation Learning via Cross-Diffusion
Attention", IJCV 2024. As in the authors' code, the diffusion is one step that starts at
the identity, and its weights A are not normalised. Their S is the transpose of alpha,
whose rows have sums of 1.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from msajax.nn.linear import Linear

PAIRINGS = ("received", "sent")


class CrossDiffusion(nn.Module):
    """H_r = F_r(alpha_r V_r || A_rd V_d), and H_d with r and d exchanged.

    Among its intermediates are the weights, [2, B, H, N, N] each: 'alpha' of r and d, and
    'diffused', A_rd and A_dr; and 'mixed', [2, B, N, 2 D], what F_r and F_d are given.

    Attributes:
      heads: number of heads of the attention; divides the width.
      share: a, of the other's similarities in A.
      pairing: the second input of a stream's F, beside the stream's own values:
        'received' is what the stream reads from the other one, 'sent' is what the
        other one reads from the stream.
      bias: whether queries, keys and values have a bias.
    """

    heads: int
    share: float = 0.6
    pairing: str = "received"
    bias: bool = False

    @nn.compact
    def __call__(self, r: jax.Array, d: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Mixes the streams.

        Args:
          r: [B, N, D] float32 or bfloat16; all its tokens are real.
          d: like r.

        Returns:
          H_r and H_d, like r.

        Raises:
          ValueError: the heads do not divide the width.
        """
        dim = r.shape[-1]
        if dim % self.heads:
            raise ValueError(
                f"{self.heads} heads do not divide a width of {dim}; set heads to a "
                "divisor of it"
            )
        # Both streams on a first axis: [2, 3, B, N, H, E]
        qkv = jnp.stack([self._project("qkv_r", r), self._project("qkv_d", d)])
        q, k, v = (qkv[:, i] for i in range(3))
        scores = jnp.einsum(
            "sbqhe,sbkhe->sbhqk", q, k, preferred_element_type=jnp.float32
        )
        alpha = jax.nn.softmax(scores * q.shape[-1] ** -0.5)
        diffused = diffuse(alpha, self.share)
        other = _mix(diffused, v[::-1])
        if self.pairing == "sent":
            other = other[::-1]
        both = jnp.concatenate([_mix(alpha, v), other], axis=-1)
        for name, value in dict(alpha=alpha, diffused=diffused, mixed=both).items():
            self.sow("intermediates", name, value)
        return Linear(dim, name="f_r")(both[0]), Linear(dim, name="f_d")(both[1])

    def _project(self, name: str, x: jax.Array) -> jax.Array:
        """Queries, keys and values: [B, N, D] -> [3, B, N, H, E]."""
        dim = x.shape[-1]
        y = Linear(3 * dim, bias=self.bias, name=name)(x.reshape(-1, dim))
        y = y.reshape(*x.shape[:2], 3, self.heads, -1)
        return jnp.moveaxis(y, 2, 0)


def diffuse(alpha: jax.Array, share: float) -> jax.Array:
    """A_rd = a alpha_r' alpha_d + (1 - a)(alpha_r + alpha_d), and A_dr.

    Args:
      alpha: [2, B, H, N, N] float32, the self-attention of r and of d.
      share: a.

    Returns:
      [2, B, H, N, N] float32: A_rd, from queries of r to keys of d, and A_dr.
    """
    crossed = jnp.einsum("sbhiq,sbhik->sbhqk", alpha, alpha[::-1])
    both = jnp.sum(alpha, axis=0, keepdims=True)
    return share * crossed + (1 - share) * both


def _mix(weights: jax.Array, v: jax.Array) -> jax.Array:
    """Values by weights, heads joined: [2, B, H, N, N], [2, B, N, H, E] -> [2, B, N, D]."""
    mixed = jnp.einsum("sbhqk,sbkhe->sbqhe", weights.astype(v.dtype), v)
    return mixed.reshape(*mixed.shape[:3], -1)
