"""Fusions of the three modalities' embeddings: joined, multiplied, and multiplied in low rank.

Those of LF-DNN, TFN and LMF, which their multi-task forms share.
"""

from collections.abc import Mapping

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

# As thuiar/MMSA joins and multiplies them.
_ORDER = ("audio", "vision", "text")


def join(embeddings: Mapping[str, jax.Array]) -> jax.Array:
    """'text', 'audio' and 'vision' [B, Dm] -> [B, Da + Dv + Dt]."""
    _assert_rows(embeddings)
    return jnp.concatenate([embeddings[m] for m in _ORDER], axis=-1)


def tensor_product(embeddings: Mapping[str, jax.Array]) -> jax.Array:
    """[1; audio] x [1; vision] x [1; text]: uni-, bi- and trimodal products.

    Zadeh et al., "Tensor Fusion Network for Multimodal Sentiment Analysis", EMNLP
    2017, section 4.2.

    Args:
      embeddings: 'text', 'audio' and 'vision' [B, Dm].

    Returns:
      [B, (1 + Da) (1 + Dv) (1 + Dt)], the text's index fastest.
    """
    _assert_rows(embeddings)
    audio, vision, text = (
        jnp.pad(embeddings[m], ((0, 0), (1, 0)), constant_values=1) for m in _ORDER
    )
    # Two products of two: the gradient of one of three copies the tensor twice.
    pairs = jnp.einsum("ba,bv->bav", audio, vision)
    pairs = pairs.reshape(pairs.shape[0], -1)  # [B, Da Dv]
    fusion = jnp.einsum("bp,bt->bpt", pairs, text)
    return fusion.reshape(fusion.shape[0], -1)


class LowRank(nn.Module):
    """A linear layer on the tensor product, by factors of each modality and without the tensor.

    Liu et al., "Efficient Low-rank Multimodal Fusion With Modality-Specific Factors",
    ACL 2018, equation 8; the rank-one terms are summed with learned weights, as in the
    authors' code.

    Attributes:
      rank: number of rank-one terms r.
      outputs: C.
    """

    rank: int
    outputs: int

    @nn.compact
    def __call__(
        self, embeddings: Mapping[str, jax.Array]
    ) -> tuple[jax.Array, jax.Array]:
        """'text', 'audio' and 'vision' [B, Dm] -> sums [B, C], rank-one terms [B, r, C]."""
        _assert_rows(embeddings)
        text, audio, vision = (
            self._project(m, embeddings[m]) for m in ("text", "audio", "vision")
        )
        terms = text * audio * vision
        weights = self.param("fusion_weights", _xavier_normal, (1, self.rank))
        bias = self.param("fusion_bias", nn.initializers.zeros, (1, self.outputs))
        return jnp.einsum("r,brc->bc", weights[0], terms) + bias, terms

    def _project(self, modality: str, x: jax.Array) -> jax.Array:
        """[1; x] times the modality's factor [r, 1 + D, C]: [B, D] -> [B, r, C]."""
        shape = (self.rank, 1 + x.shape[-1], self.outputs)
        factor = self.param(f"{modality}_factor", _xavier_normal, shape)
        one, rest = factor[:, 0], factor[:, 1:]
        return one[None] + jnp.einsum("bd,rdc->brc", x, rest)


def _assert_rows(embeddings: Mapping[str, jax.Array]) -> None:
    """Asserts that 'text', 'audio' and 'vision' are [B, Dm]."""
    found = [embeddings[m] for m in _ORDER]
    chex.assert_rank(found, 2)
    chex.assert_equal_shape_prefix(found, 1)


# As torch.nn.init.xavier_normal_ counts the fans of [r, 1 + D, C] (and [1, r]).
_xavier_normal = nn.initializers.variance_scaling(
    1.0, "fan_avg", "normal", in_axis=1, out_axis=0
)
