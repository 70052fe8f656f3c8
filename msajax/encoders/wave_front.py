"""What the voice encoders do before their layers: waves to frames, and the frames' positions.

Baevski et al., "wav2vec 2.0: A Framework for Self-Supervised Learning of Speech
Representations", NeurIPS 2020. Padding is at the end, and by default changes nothing:
a wave has the frames that it has alone, as in pretraining, where batches were cropped
to their shortest wave. `padded` is the form of transformers' models, where padding
enters the statistics of the GroupNorm and leaks through data2vec's positional
convolutions. Parameter names are those of Hugging Face's Flax models.
"""

from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from msajax.encoders.layers import ACTIVATIONS, layer_norm
from msajax.nn.dropout import Dropout

# Source: Wav2Vec2FeatureExtractor.zero_mean_unit_var_norm of transformers.
_EPSILON = 1e-7
# Source: torch.nn's norms, which the convolutions have whatever the config says.
_NORM_EPSILON = 1e-5


def normalize(waves: jax.Array, mask: jax.Array) -> jax.Array:
    """Each wave with mean 0 and variance 1 over its real samples, and zeros elsewhere.

    Args:
      waves: [B, T] float32.
      mask: [B, T] bool, real samples.

    Returns:
      [B, T], as the feature extractor of transformers makes of a wave alone.
    """
    chex.assert_rank(waves, 2)
    chex.assert_equal_shape([waves, mask])
    where = mask[..., None]
    centred, var = _centred(waves[..., None], where)
    scaled = centred * jax.lax.rsqrt(var + _EPSILON)
    return jnp.where(where, scaled, 0)[..., 0].astype(waves.dtype)


def _centred(x: jax.Array, where: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Values less their mean over time, and their variance: [B, T, C] and [B, 1, C], in float32."""

    def mean(values: jax.Array) -> jax.Array:
        total = jnp.sum(jnp.where(where, values, 0), axis=1, keepdims=True)
        return total / count

    count = jnp.maximum(jnp.sum(where, axis=1, keepdims=True), 1)
    x = x.astype(jnp.float32)
    centred = x - mean(x)
    return centred, mean(jnp.square(centred))


class FeatureExtractor(nn.Module):
    """Convolutions over the samples.

    Attributes:
      config: a `Wav2Vec2Config`.
      dtype: of the computation; None is that of waves and parameters.
      padded: the GroupNorm's statistics include the padding.
      remat: compute the activations of a convolution again in the backward pass.
    """

    config: Any
    dtype: Any
    padded: bool
    remat: bool

    @nn.compact
    def __call__(self, waves: jax.Array, mask: jax.Array) -> jax.Array:
        """[B, T] waves and their mask -> [B, F, C] features."""
        settings = self.config, self.dtype, self.padded, self.remat
        return _Convolutions(*settings, name="conv_layers")(waves[..., None], mask)


class _Convolutions(nn.Module):
    config: Any
    dtype: Any
    padded: bool
    remat: bool

    @nn.compact
    def __call__(self, x, mask):
        def apply(layer, x):
            return layer(x, frames)

        first = self.config.frames(jnp.sum(mask, axis=1), layers=1)
        if self.padded:
            first = jnp.full_like(first, x.shape[1])
        longest = self.config.frames(x.shape[1], layers=1)
        frames = jnp.arange(longest)[None] < first[:, None]
        apply = nn.remat(apply) if self.remat else apply
        for i in range(len(self.config.conv_dim)):
            x = apply(_Convolution(self.config, i, self.dtype, name=str(i)), x)
        return x


class _Convolution(nn.Module):
    config: Any
    index: int
    dtype: Any

    @nn.compact
    def __call__(self, x, frames):
        """[B, T, C] and, for the first one, the mask of its output -> [B, F, C]."""
        config, i = self.config, self.index
        x = nn.Conv(
            config.conv_dim[i],
            (config.conv_kernel[i],),
            config.conv_stride[i],
            padding="VALID",
            use_bias=config.conv_bias,
            kernel_init=nn.initializers.he_normal(),
            dtype=self.dtype,
            name="conv",
        )(x)
        if config.feat_extract_norm == "layer":
            x = layer_norm(_NORM_EPSILON, self.dtype, "layer_norm")(x)
        elif i == 0:
            x = _GroupNorm(name="layer_norm")(x, frames)
        return ACTIVATIONS[config.feat_extract_activation](x)


class _GroupNorm(nn.Module):
    """Each channel over its real frames: torch.nn.GroupNorm with a group for each channel."""

    @nn.compact
    def __call__(self, x, frames):
        shape = x.shape[-1:]
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        centred, var = _centred(x, frames[..., None])
        gain = scale[None, None] * jax.lax.rsqrt(var + _NORM_EPSILON)
        return (centred * gain + bias[None, None]).astype(x.dtype)


class FeatureProjection(nn.Module):
    """The features normalised (in HuBERT where the config says so) and projected."""

    config: Any
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """[B, F, C] -> [B, F, D]."""
        config = self.config
        if config.feat_proj_layer_norm:
            x = layer_norm(config.layer_norm_eps, self.dtype, "layer_norm")(x)
        init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
        x = nn.Dense(
            config.hidden_size, dtype=self.dtype, kernel_init=init, name="projection"
        )(x)
        return Dropout(config.feat_proj_dropout, deterministic=not train)(x)


class Positions(nn.Module):
    """Positions from a wide convolution, or in data2vec from a stack of narrower ones.

    Attributes:
      config, dtype, padded: see `FeatureExtractor`.
    """

    config: Any
    dtype: Any
    padded: bool

    @nn.compact
    def __call__(self, x: jax.Array, frames: jax.Array) -> jax.Array:
        """[B, F, D], with zeros for padding, and the mask of frames -> [B, F, D]."""
        config = self.config
        if config.conv_pos_kernel_size is None:
            x = _NormedConvolution(config, self.dtype, name="conv")(x)
            return ACTIVATIONS[config.feat_extract_activation](x)
        settings = config, self.dtype, self.padded
        return _PositionStack(*settings, name="layers")(x, frames)


class _PositionStack(nn.Module):
    config: Any
    dtype: Any
    padded: bool

    @nn.compact
    def __call__(self, x, frames):
        for i in range(self.config.num_conv_pos_embeddings):
            if i and not self.padded:
                x = jnp.where(frames[..., None], x, 0)
            x = _PositionLayer(self.config, self.dtype, name=str(i))(x)
        return x


class _PositionLayer(nn.Module):
    config: Any
    dtype: Any

    @nn.compact
    def __call__(self, x):
        config, size = self.config, self.config.conv_pos_kernel_size
        x = nn.Conv(
            config.hidden_size,
            (size,),
            padding=[_same(size)],
            feature_group_count=config.num_conv_pos_embedding_groups,
            kernel_init=nn.initializers.he_normal(),
            dtype=self.dtype,
            conv_general_dilated=_by_group,
            name="conv",
        )(x)
        settings = dict(use_bias=False, use_scale=False)
        x = layer_norm(_NORM_EPSILON, self.dtype, "layer_norm", **settings)(x)
        return ACTIVATIONS[config.feat_extract_activation](x)


class _NormedConvolution(nn.Module):
    """A convolution in groups with PyTorch's weight normalisation over dim 2.

    Direction and length of the kernel stay two parameters, as in the checkpoints, so that
    fine-tuning moves them as in the reference. They keep PyTorch's axes, as in Flax.
    """

    config: Any
    dtype: Any

    @nn.compact
    def __call__(self, x):
        width, size = self.config.hidden_size, self.config.num_conv_pos_embeddings
        groups = self.config.num_conv_pos_embedding_groups
        init = nn.initializers.normal(2 / (size * width) ** 0.5)
        v = self.param("weight_v", init, (width, width // groups, size))
        norm = jnp.sqrt(jnp.sum(jnp.square(v), axis=(0, 1), keepdims=True))
        g = self.param("weight_g", lambda _: norm)
        bias = self.param("bias", nn.initializers.zeros, (width,))
        dtype = self.dtype or x.dtype
        kernel = jnp.transpose(g * v / norm).astype(dtype)  # [size, D/groups, D]
        y = _by_group(
            *(x.astype(dtype), kernel, (1,), [_same(size)]), feature_group_count=groups
        )
        return y + bias.astype(dtype)[None, None]


def _same(size: int) -> tuple[int, int]:
    """Zeros before and after: as many steps as before, the last of an even kernel dropped."""
    return size // 2, (size - 1) // 2


def _by_group(
    x: jax.Array,
    kernel: jax.Array,
    strides: Any,
    padding: Any,
    *,
    feature_group_count: int,
    **_: Any,
) -> jax.Array:
    """A convolution in groups, one after the other: [B, L, D], [size, D/groups, D] -> [B, L, D].

    XLA's own takes 13 times as long in the gradient on a CPU.
    """
    pairs = zip(
        jnp.split(x, feature_group_count, axis=-1),
        jnp.split(kernel, feature_group_count, axis=-1),
        strict=True,
    )
    layout = ("NWC", "WIO", "NWC")
    parts = [
        jax.lax.conv_general_dilated(*pair, strides, padding, dimension_numbers=layout)
        for pair in pairs
    ]
    return jnp.concatenate(parts, axis=-1)
