"""wav2vec 2.0, HuBERT and data2vec-audio as encoders of raw 16 kHz waves.

Baevski et al., "wav2vec 2.0: A Framework for Self-Supervised Learning of Speech
Representations", NeurIPS 2020; Hsu et al., "HuBERT: Self-Supervised Speech
Representation Learning by Masked Prediction of Hidden Units", TASLP 2021; Baevski et
al., "data2vec: A General Framework for Self-supervised Learning in Speech, Vision and
Language", ICML 2022. Of these networks this is what fine-tuning runs, without the
masking of time steps (SpecAugment). They differ in norms and positions, which the config
says. Parameter names are those of Hugging Face's Flax Wav2Vec2.
"""

import dataclasses
import itertools
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, TypeVar

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
from annotated_types import Len

from msajax.encoders import hf_config
from msajax.encoders.layers import (
    ACTIVATIONS,
    Context,
    Epsilon,
    Inject,
    Layers,
    LayerStack,
    Rate,
    Width,
    check_heads,
    layer_norm,
)
from msajax.encoders.wave_front import (
    FeatureExtractor,
    FeatureProjection,
    Positions,
    normalize,
)
from msajax.encoders.wave_layers import Attention, Layer
from msajax.nn.dropout import Dropout
from msajax.weights.table import Table
from msajax.weights.wav2vec2 import table

# Samples in a second of every wave.
RATE = 16_000

_Widths = Annotated[tuple[Width, ...], Len(1, 100)]
_Size = TypeVar("_Size", int, jax.Array)


# Absent from old files; transformers takes the same defaults.
_OPTIONAL = (
    "conv_bias",
    "feat_extract_activation",
    "feat_proj_layer_norm",
    "layerdrop",
    "do_stable_layer_norm",
    "hidden_dropout",
    "activation_dropout",
    "attention_dropout",
    "feat_proj_dropout",
)


def voice_config(cls: type[Any], facts: Mapping[str, Any], **given: Any) -> Any:
    """A config of wav2vec 2.0's kind by config.json's settings."""
    supported = {
        "hidden_act": tuple(ACTIVATIONS),
        "feat_extract_activation": tuple(ACTIVATIONS),
        # Further networks, some on top and some inside of the layers.
        "add_adapter": (False,),
        "adapter_attn_dim": (None,),
        "conv_pos_batch_norm": (False,),
    }
    facts = {k: tuple(v) if isinstance(v, list) else v for k, v in facts.items()}
    return hf_config.read(cls, facts, supported=supported, optional=_OPTIONAL, **given)


@dataclasses.dataclass(frozen=True)
class Wav2Vec2Config:
    """The network, by the names in a checkpoint's config.json; the defaults are wav2vec2-base's.

    Attributes:
      conv_pos_kernel_size: width of data2vec's positional convolutions, of which there
        are `num_conv_pos_embeddings`. None: one convolution of that width.
      do_normalize: of preprocessor_config.json: the encoder gives each wave mean 0 and
        variance 1 first.
    """

    kinds: ClassVar[tuple[str, ...]] = ("wav2vec2", "hubert", "data2vec-audio")
    drops_first: ClassVar[bool] = True  # layerdrop holds for the first layer too

    hidden_size: Width = 768
    num_hidden_layers: Layers = 12
    num_attention_heads: Width = 12
    intermediate_size: Width = 3072
    conv_dim: _Widths = (512,) * 7
    conv_kernel: _Widths = (10, 3, 3, 3, 3, 2, 2)
    conv_stride: _Widths = (5, 2, 2, 2, 2, 2, 2)
    conv_bias: bool = False
    feat_extract_norm: Literal["group", "layer"] = "group"
    feat_extract_activation: str = "gelu"
    feat_proj_layer_norm: bool = True
    do_stable_layer_norm: bool = False
    num_conv_pos_embeddings: Width = 128
    num_conv_pos_embedding_groups: Width = 16
    conv_pos_kernel_size: Width | None = None
    layer_norm_eps: Epsilon = 1e-5
    hidden_act: str = "gelu"
    hidden_dropout: Rate = 0.1
    activation_dropout: Rate = 0.1
    attention_dropout: Rate = 0.1
    feat_proj_dropout: Rate = 0.0
    layerdrop: Rate = 0.1
    do_normalize: bool = True

    def __post_init__(self):
        check_heads(self.hidden_size, self.num_attention_heads)
        sizes = self.conv_dim, self.conv_kernel, self.conv_stride
        if len({len(x) for x in sizes}) > 1:
            raise ValueError(
                f"conv_dim, conv_kernel and conv_stride list {len(sizes[0])}, "
                f"{len(sizes[1])} and {len(sizes[2])} convolutions; they must be as many"
            )
        if self.hidden_size % self.num_conv_pos_embedding_groups:
            raise ValueError(
                f"num_conv_pos_embedding_groups is {self.num_conv_pos_embedding_groups}, "
                f"which does not divide a width of {self.hidden_size} (hidden_size)"
            )

    @property
    def least_parameters(self) -> int:
        """Parameters of the kernels: fewer than the network has."""
        width, wide = self.hidden_size, self.intermediate_size
        pairs = zip(
            self.conv_kernel, itertools.pairwise((1, *self.conv_dim)), strict=True
        )
        front = sum(size * before * after for size, (before, after) in pairs)
        layers = self.num_hidden_layers * width * (4 * width + 2 * wide)
        size, narrow = self.num_conv_pos_embeddings, self.conv_pos_kernel_size
        positions = width // self.num_conv_pos_embedding_groups * width
        positions *= size * (narrow or 1)
        return front + self.conv_dim[-1] * width + positions + layers

    @property
    def field(self) -> int:
        """Samples that a frame is made of: shorter waves have none."""
        size = 1
        pairs = zip(self.conv_kernel, self.conv_stride, strict=True)
        for kernel, stride in reversed(list(pairs)):
            size = (size - 1) * stride + kernel
        return size

    def frames(self, samples: _Size, layers: int | None = None) -> _Size:
        """Frames of so many samples after all convolutions, or after the first ones; none where below 1."""
        pairs = zip(self.conv_kernel, self.conv_stride, strict=True)
        for kernel, stride in itertools.islice(pairs, layers):
            samples = (samples - kernel) // stride + 1
        return samples

    @classmethod
    def read(cls, facts: Mapping[str, Any], *, do_normalize: bool) -> "Wav2Vec2Config":
        """The config by config.json's settings, and what preprocessor_config.json says.

        Raises:
          ValueError: a setting is missing or is not supported.
        """
        kind, given = facts.get("model_type"), {}
        if kind != "hubert":
            given["feat_proj_layer_norm"] = True
        if kind == "data2vec-audio":  # whatever its config says
            given |= dict(feat_extract_norm="layer", do_stable_layer_norm=False)
        else:
            given["conv_pos_kernel_size"] = None
        return voice_config(cls, facts, do_normalize=do_normalize, **given)

    def encoder(self, **settings: Any) -> "Wav2Vec2":
        """A `Wav2Vec2` of this config."""
        return Wav2Vec2(self, **settings)


class EncodedWaves(NamedTuple):
    """Outputs of a voice encoder.

    Attributes:
      hidden: [B, F, D] each: the frames, then the output of each layer; what was
        injected is in them.
      mask: [B, F] bool, the real frames; none where a wave is too short for one.
    """

    hidden: tuple[jax.Array, ...]
    mask: jax.Array

    @property
    def last(self) -> jax.Array:
        """The last hidden state, [B, F, D]."""
        return self.hidden[-1]


class VoiceEncoder(nn.Module):
    """An encoder of waves; a subclass says which attention its layers have, and what that reads.

    Attributes:
      config: of the network.
      dtype: of the computation; None is that of waves and parameters. Softmax and norms
        are float32.
      padded: the form of transformers, where the padding of a batch changes the result of
        a GroupNorm (wav2vec2-base, hubert-base) and of data2vec; what pads a wave then
        has to be zero. By default a wave has the frames that it has alone.
      remat, scan: see `LayerStack`; remat holds for the convolutions too.
    """

    config: Any
    dtype: Any = jnp.float32
    padded: bool = False
    remat: bool = False
    scan: bool = False

    attention: ClassVar[type[nn.Module]]

    @nn.compact
    def __call__(
        self,
        waves: jax.Array,
        *,
        mask: jax.Array,
        train: bool,
        inject_after: int | None = None,
        inject: Inject | None = None,
    ) -> EncodedWaves:
        """Encodes waves.

        Args:
          waves: [B, T] float32, 16 000 samples a second.
          mask: [B, T] bool, real samples, which padding follows.
          train: apply dropout and drop layers.
          inject_after, inject: see `LayerStack`.

        Returns:
          Hidden states, [B, F, D] each, that of padding too, and the mask of frames.

        Raises:
          ValueError: T samples are too few for a frame, or there is no layer
            `inject_after`.
        """
        config = self.config
        chex.assert_equal_shape([waves, mask])
        check_samples(config, waves.shape[1])
        if not self.padded:
            waves = jnp.where(mask, waves, 0)
        if config.do_normalize:
            waves = normalize(waves, mask)
        front = config, self.dtype, self.padded, self.remat
        x = FeatureExtractor(*front, name="feature_extractor")(waves, mask)
        real = config.frames(jnp.sum(mask, axis=1))
        frames = jnp.arange(x.shape[1])[None] < real[:, None]
        dtype = self.dtype or x.dtype
        x = FeatureProjection(config, dtype, name="feature_projection")(x, train=train)
        settings = self.attention, dtype, self.padded, self.remat, self.scan
        injection = dict(inject_after=inject_after, inject=inject)
        hidden = _Encoder(config, *settings, name="encoder")(
            x, frames, *self.shared(x.shape[1]), train=train, **injection
        )
        return EncodedWaves(hidden, frames)

    def shared(self, frames: int) -> Context:
        """Further inputs of every layer's attention, for so many frames."""
        del frames
        return ()


class Wav2Vec2(VoiceEncoder):
    """wav2vec 2.0, HuBERT or data2vec-audio; fields as in `VoiceEncoder`."""

    config: Wav2Vec2Config = Wav2Vec2Config()
    attention: ClassVar[type[nn.Module]] = Attention

    def names(self) -> Table:
        """Its parameters by their names in PyTorch's files."""
        return table(self)


def check_samples(config: Wav2Vec2Config, samples: int) -> None:
    """Refuses waves that are too short for a frame."""
    if samples < config.field:
        raise ValueError(
            f"waves of {samples} samples, but the encoder makes its first frame of "
            f"{config.field}; pad them to that length at least, and mask the padding"
        )


class _Encoder(nn.Module):
    """Positions, the stack of layers, and the norm before or (pre-norm layers) after them."""

    config: Wav2Vec2Config
    attention: Callable[..., nn.Module]
    dtype: Any
    padded: bool
    remat: bool
    scan: bool

    @nn.compact
    def __call__(self, x, frames, *context, train, **injection):
        def make_layer(**named):
            return Layer(config, self.attention, self.dtype, **named)

        config = self.config
        x = jnp.where(frames[..., None], x, 0)
        positions = Positions(config, self.dtype, self.padded, name="pos_conv_embed")
        x += positions(x, frames)
        norm = layer_norm(config.layer_norm_eps, self.dtype, "layer_norm")
        x = x if config.do_stable_layer_norm else norm(x)
        x = Dropout(config.hidden_dropout, deterministic=not train)(x)
        length = config.num_hidden_layers
        stack = LayerStack(make_layer, length, self.remat, self.scan, name="layers")
        stays = self._stays() if train and config.layerdrop else None
        hidden = stack(x, frames, *context, train=train, stays=stays, **injection)
        if config.do_stable_layer_norm:
            return (*hidden[:-1], norm(hidden[-1]))
        return hidden

    def _stays(self) -> jax.Array:
        """The layers that layerdrop does not pass over in this step: [num_hidden_layers] bool."""
        config, length = self.config, self.config.num_hidden_layers
        rng = self.make_rng("dropout")
        stays = jax.random.bernoulli(rng, 1 - config.layerdrop, (length,))
        return stays if config.drops_first else stays | (jnp.arange(length) == 0)
