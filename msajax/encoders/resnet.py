"""ResNet with bottlenecks, for pictures; weights of transformers or torchvision.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016. As in torchvision
and transformers the 3x3 convolution carries the stride, not the first one of the paper
("v1.5").
"""

import os
import pathlib
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from msajax.encoders import files
from msajax.nn.norm import BatchNorm
from msajax.weights import resnet, template
from msajax.weights.table import Table

# Source: torchvision's and transformers' preparation of ImageNet; of red, green, blue.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
_REDUCTION = 4


class Seen(NamedTuple):
    """What a network gives.

    Attributes:
      hidden: after the stem and after each stage, [B, H, W, C].
      pooled: the mean over the pixels of the last one, [B, C].
    """

    hidden: tuple[jax.Array, ...]
    pooled: jax.Array


class _Convolution(nn.Module):
    """A convolution and batch normalisation."""

    channels: int
    size: int = 1
    stride: int = 1

    @nn.compact
    def __call__(self, x, *, train):
        x = nn.Conv(
            self.channels,
            (self.size, self.size),
            strides=self.stride,
            padding=self.size // 2,
            use_bias=False,
            name="convolution",
        )(x)
        pixels = x.reshape(len(x), -1, self.channels)  # [B, H W, C]
        where = jnp.ones(pixels.shape[:2], bool)
        norm = BatchNorm(name="normalization")
        return norm(pixels, where=where, train=train).reshape(x.shape)


class _Bottleneck(nn.Module):
    channels: int
    stride: int
    shortcut: bool

    @nn.compact
    def __call__(self, x, *, train):
        narrow, h = self.channels // _REDUCTION, x
        shapes = ((narrow, 1, 1), (narrow, 3, self.stride), (self.channels, 1, 1))
        for i, shape in enumerate(shapes):
            h = _Convolution(*shape, name=f"layer_{i}")(h, train=train)
            h = nn.relu(h) if i < 2 else h
        if self.shortcut:
            convolution = _Convolution(self.channels, 1, self.stride, name="shortcut")
            x = convolution(x, train=train)
        return nn.relu(x + h)


class ResNet(nn.Module):
    """The network without its classifier; the defaults are ResNet-50.

    Attributes:
      embedding_size: channels of the stem.
      hidden_sizes: channels of each stage.
      depths: bottlenecks of each stage.
    """

    embedding_size: int = 64
    hidden_sizes: tuple[int, ...] = (256, 512, 1024, 2048)
    depths: tuple[int, ...] = (3, 4, 6, 3)

    @nn.compact
    def __call__(self, pictures: jax.Array, *, train: bool) -> Seen:
        """Features of pictures.

        Args:
          pictures: [B, H, W, 3] float32, normalised (`normalize`).
          train: batch normalisation by the batch's statistics.
        """
        stem = _Convolution(self.embedding_size, 7, 2, name="embedder")
        x = nn.relu(stem(pictures, train=train))
        x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))  # zeros: x is not negative
        x = nn.max_pool(x, (3, 3), strides=(2, 2))
        hidden = [x]
        sizes = zip(self.hidden_sizes, self.depths, self.shortcuts(), strict=True)
        for stage, (channels, depth, shortcut) in enumerate(sizes):
            for i in range(depth):
                first = i == 0
                block = _Bottleneck(
                    channels,
                    stride=2 if first and stage else 1,
                    shortcut=first and shortcut,
                    name=f"stage_{stage}_{i}",
                )
                x = block(x, train=train)
            hidden.append(x)
        return Seen(tuple(hidden), jnp.mean(x, axis=(1, 2)))

    def shortcuts(self) -> list[bool]:
        """For each stage whether the shortcut of its first bottleneck is a convolution."""
        before = (self.embedding_size, *self.hidden_sizes)
        widths = zip(before, self.hidden_sizes, strict=False)
        return [stage > 0 or old != new for stage, (old, new) in enumerate(widths)]

    def names(self) -> Table:
        """Its variables by their names in PyTorch's files."""
        return resnet.table(self.depths, self.shortcuts())


def normalize(pictures: jax.Array) -> jax.Array:
    """Bytes [..., 3] in red, green, blue as the network takes them, float32."""
    mean, std = jnp.asarray(MEAN), jnp.asarray(STD)
    values = pictures.astype(jnp.float32) / 255
    shape = (1,) * (pictures.ndim - 1) + (3,)
    return (values - mean.reshape(shape)) / std.reshape(shape)


def load(path: str | os.PathLike[str]) -> tuple[ResNet, dict[str, Any]]:
    """A network and its trained variables; the sizes are those of the weights.

    Args:
      path: a file of torchvision or transformers (.pth, .pt, .bin, .safetensors, .npz,
        .msgpack), or a folder with one.

    Returns:
      (network, variables: params and batch_stats).

    Raises:
      ValueError: there are no such weights, or not of a ResNet with bottlenecks.
    """
    path = pathlib.Path(path)
    found = files.read(path) if path.is_dir() else files.read_file(path)
    state = resnet.state(found.arrays, flax=found.flax)
    depths, stem = resnet.depths(state), "embedder.embedder.convolution.weight"
    if stem not in state or not depths:
        some = ", ".join(ascii(name[:80])[1:-1] for name in list(state)[:3])
        raise ValueError(
            f"{found.file} is no ResNet with bottlenecks, such as ResNet-50, by the names "
            f"of its arrays ({some}, ...); give the weights of torchvision's resnet50 or of "
            "microsoft/resnet-50"
        )
    last = "encoder.stages.{}.layers.0.layer.2.convolution.weight"
    network = ResNet(
        embedding_size=len(state[stem]),
        hidden_sizes=tuple(len(state[last.format(i)]) for i in range(len(depths))),
        depths=tuple(depths),
    )
    shapes = template(network, np.zeros((1, 32, 32, 3), np.float32), train=False)
    try:
        return network, network.names().variables(state, shapes)
    except ValueError as error:
        raise ValueError(f"{found.file}: {error}") from error
