"""Mixup of one modality between the rows of a batch.

Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018; of one modality
alone in Liu et al., "Make Acoustic and Visual Cues Matter: CH-SIMS v2.0 Dataset and
AV-Mixup Consistent Module", ICMI 2022: one share and one permutation for each step.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

from msajax import parallel
from msajax.nn.masks import assert_steps


class Mixup(NamedTuple):
    """How the rows of a batch are mixed with others.

    Attributes:
      share: lambda, [] float32: what a row keeps of itself.
      partner: [B] int32, the other row of each, its number in the global batch.
    """

    share: jax.Array
    partner: jax.Array

    def partners(self, x: jax.Array) -> jax.Array:
        """The partners' rows of [B, ...] features, masks or labels."""
        return parallel.gather(x)[self.partner]

    def blend(self, own: jax.Array, other: jax.Array) -> jax.Array:
        """share * own + (1 - share) * other: of features, labels, or losses on both labels."""
        chex.assert_equal_shape([own, other])
        share = self.share.astype(own.dtype)
        return share * own + (1 - share) * other

    def sequences(self, x: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Mixed sequences, as long as the longer of both.

        Args:
          x: [B, L, D]; what lies on padding does not count.
          mask: [B, L] bool, real steps.

        Returns:
          An array like x, and the union of both masks; a row without a share in
          the mix has none in its mask.
        """
        assert_steps(x, mask)
        x = jnp.where(mask[..., None], x, 0)
        own, other = mask & (self.share > 0), self.partners(mask) & (self.share < 1)
        return self.blend(x, self.partners(x)), own | other


def draw(key: jax.Array, valid: jax.Array, *, alpha: float = 1.0) -> Mixup:
    """A share from Beta(alpha, alpha), and a permutation of the rows that count.

    Args:
      key: the same on every device, as `make_rng` gives it for every stream but
        'dropout'.
      valid: [B] bool; rows that only fill up the batch are their own partners.
      alpha: above 0.
    """
    chex.assert_rank(valid, 1)
    chex.assert_type(valid, bool)
    share_key, order_key = jax.random.split(key)
    share = jax.random.beta(share_key, alpha, alpha, dtype=jnp.float32)
    everywhere = parallel.gather(valid)

    def permute(rows: int) -> jax.Array:
        numbers = jnp.where(everywhere, jax.random.uniform(order_key, (rows,)), 1)
        order = jnp.argsort(numbers)  # rows that count, shuffled, in front
        rank = jnp.cumsum(everywhere) - 1
        return jnp.where(everywhere, order[rank], jnp.arange(rows))

    return Mixup(share, parallel.draw(permute, len(valid)))
