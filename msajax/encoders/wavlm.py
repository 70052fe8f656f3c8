"""WavLM as an encoder of raw 16 kHz waves: wav2vec 2.0's layers, with gated relative positions.

Chen et al., "WavLM: Large-Scale Self-Supervised Pre-Training for Full Stack Speech
Processing", JSTSP 2022. One table of relative positions serves all layers; a layer
weighs it by a gate of its own, made of each head's part of its input. The table is
that of layer 0 in Hugging Face's PyTorch WavLM, and stands beside the layers here.
"""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Le

from msajax.encoders.layers import INIT, Context, Count, dense
from msajax.encoders.relative import buckets
from msajax.encoders.wav2vec2 import VoiceEncoder, Wav2Vec2Config, voice_config
from msajax.encoders.wave_layers import self_attention
from msajax.nn.embedding import Embed
from msajax.weights.table import Table
from msajax.weights.wavlm import table


@dataclasses.dataclass(frozen=True)
class WavLMConfig(Wav2Vec2Config):
    """The network, by the names in a checkpoint's config.json; the defaults are wavlm-base's."""

    kinds: ClassVar[tuple[str, ...]] = ("wavlm",)
    drops_first: ClassVar[bool] = False  # in the reference it holds the table

    # At least one distance of each direction that is not rounded.
    num_buckets: Annotated[int, Ge(4), Le(2**24)] = 320
    max_bucket_distance: Count = 800
    do_normalize: bool = False

    def __post_init__(self):
        super().__post_init__()
        if self.max_bucket_distance <= self.num_buckets // 4:
            raise ValueError(
                f"max_bucket_distance is {self.max_bucket_distance}, but {self.num_buckets} "
                f"buckets (num_buckets) reach to {self.num_buckets // 4} at least"
            )

    @property
    def least_parameters(self) -> int:
        """As of `Wav2Vec2Config`, and of the table of distances."""
        return super().least_parameters + self.num_buckets * self.num_attention_heads

    @classmethod
    def read(cls, facts: Mapping[str, Any], *, do_normalize: bool) -> "WavLMConfig":
        """As `Wav2Vec2Config.read`."""
        given = dict(feat_proj_layer_norm=True, conv_pos_kernel_size=None)
        return voice_config(cls, facts, do_normalize=do_normalize, **given)

    def encoder(self, **settings: Any) -> "WavLM":
        """A `WavLM` of this config."""
        return WavLM(self, **settings)


class _Attention(nn.Module):
    """Self-attention of the frames with the gated bias."""

    config: WavLMConfig
    dtype: Any

    @nn.compact
    def __call__(self, x, frames, bias, *, train):
        heads = self.config.num_attention_heads
        parts = x.reshape(*x.shape[:2], heads, -1)  # [B, F, H, D/H]
        h = dense(8, self.dtype, "gru_rel_pos_linear")(parts).astype(jnp.float32)
        gates = jax.nn.sigmoid(jnp.sum(h.reshape(*h.shape[:3], 2, 4), axis=-1))
        ones = nn.initializers.ones
        constant = self.param("gru_rel_pos_const", ones, (1, heads, 1, 1))
        update = gates[..., 1] * constant.reshape(1, 1, heads) - 1
        gate = jnp.moveaxis(gates[..., 0] * update + 2, 2, 1)[..., None]
        return self_attention(self, x, frames, gate * bias, train=train)


class WavLM(VoiceEncoder):
    """The encoder; fields as in `VoiceEncoder`."""

    config: WavLMConfig = WavLMConfig()
    attention: ClassVar[type[nn.Module]] = _Attention

    def names(self) -> Table:
        """Its parameters by their names in PyTorch's files."""
        return table(self)

    def shared(self, frames: int) -> Context:
        """The bias of the relative positions, [1, H, F, F]."""
        count, heads = self.config.num_buckets, self.config.num_attention_heads
        table = Embed(count, heads, embedding_init=INIT, name="rel_attn_embed")
        steps, farthest = np.arange(frames), self.config.max_bucket_distance
        rows = buckets(steps[None] - steps[:, None], count=count, farthest=farthest)
        return (jnp.moveaxis(table(jnp.asarray(rows)), 2, 0)[None],)
