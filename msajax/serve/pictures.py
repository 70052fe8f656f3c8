"""Arrays as PNG pictures, written without a library of pictures."""

import base64
import struct
import zlib

import numpy as np

# Colours from low to high, which also differ in brightness (five of viridis).
_COLOURS = np.array(
    [(68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37)], float
)
_MOST = (128, 480)  # rows and columns of a picture of features
_WAVE = 64  # rows of the picture of a wave


def data_url(pixels: np.ndarray) -> str:
    """A picture as an address that holds it.

    Args:
      pixels: [H, W] or [H, W, 3] uint8.
    """
    code = base64.b64encode(_png(pixels)).decode()
    return f"data:image/png;base64,{code}"


def _png(pixels: np.ndarray) -> bytes:
    height, width = pixels.shape[:2]
    kind = 2 if pixels.ndim == 3 else 0  # colours, or greys
    flat = pixels.reshape(height, -1)
    lines = np.concatenate([np.zeros((height, 1), np.uint8), flat], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    parts = [
        (b"IHDR", header),
        (b"IDAT", zlib.compress(lines.tobytes())),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data))
        + name
        + data
        + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts
    )


def heat_map(values: np.ndarray, *, own_scales: bool) -> np.ndarray:
    """Features over time as colours: steps from left to right, the first feature at the bottom.

    Args:
      values: [L, D] float32.
      own_scales: whether each feature has its own scale of colours, for features of
        different units.

    Returns:
      [H, W, 3] uint8.
    """
    image = values.T[::-1].astype(float)  # [D, L]
    for axis, most in enumerate(_MOST):
        image = _averaged(image, most, axis)
    axis = 1 if own_scales else None
    low, high = np.percentile(image, (1, 99), axis=axis, keepdims=True)
    share = np.clip((image - low) / np.maximum(high - low, 1e-9), 0, 1)
    place = share * (len(_COLOURS) - 1)
    below = np.minimum(place.astype(int), len(_COLOURS) - 2)
    part = (place - below)[..., None]
    return ((1 - part) * _COLOURS[below] + part * _COLOURS[below + 1]).astype(np.uint8)


def wave(values: np.ndarray) -> np.ndarray:
    """Samples [T] over time as a black shape on white: [H, W] uint8."""
    columns = np.array_split(values, min(_MOST[1], len(values)))
    peak = max(float(np.abs(values).max()), 1e-9)
    rows = np.linspace(1, -1, _WAVE)[:, None]
    low, high = (
        np.array([function(part) for part in columns]) / peak
        for function in (np.min, np.max)
    )
    slack = 1 / _WAVE  # so that silence is a line
    return np.where((rows >= low - slack) & (rows <= high + slack), 0, 255).astype(
        np.uint8
    )


def _averaged(image: np.ndarray, most: int, axis: int) -> np.ndarray:
    """Means of neighbours, so that an axis has at most so many."""
    if image.shape[axis] <= most:
        return image
    edges = np.linspace(0, image.shape[axis], most, endpoint=False).astype(int)
    counts = np.diff(np.append(edges, image.shape[axis]))
    shape = (-1, 1) if axis == 0 else (1, -1)
    return np.add.reduceat(image, edges, axis=axis) / counts.reshape(shape)
