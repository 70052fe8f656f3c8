"""Features of a frozen encoder, of text or of waves: computed once, and kept on disk."""

import functools
import hashlib
import math
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from msajax.data import store
from msajax.encoders import files
from msajax.encoders.kinds import Encoder, Voice
from msajax.encoders.load import load
from msajax.encoders.wav2vec2 import RATE

# Texts that the encoder reads at once, at most; samples of waves that it reads at once; waves
# in an entry of the cache: a pass that was stopped has lost no more than one.
_ROWS = 64
_SAMPLES = 30 * RATE
_WAVES = 64
# Raise it when the encoders' results change: older entries of the cache are then left.
_VERSION = 1
_SHA256 = "weights.sha256"


class Frozen:
    """A frozen encoder.

    Attributes:
      folder: has the config and the weights.
      sha256: hash of both.
    """

    def __init__(self, folder: pathlib.Path):
        self.folder, self.sha256 = folder, files.fingerprint(folder)

    def check_same(self, kept: pathlib.Path) -> None:
        """Refuses other weights than those that a run was trained on.

        Args:
          kept: what the run's workdir keeps of its encoder.

        Raises:
          ValueError: names both folders.
        """
        known = kept / _SHA256
        if known.is_file() and known.read_bytes() != self.sha256.encode():
            raise ValueError(
                f"the weights in {self.folder} are not those that the run in {kept.parent} "
                "was trained on: their content has changed; put the old ones back, or "
                "train in another workdir"
            )


def keep_hash(folder: pathlib.Path, kept: pathlib.Path) -> None:
    """Writes the hash of the weights in a folder beside what a run keeps of the encoder: no checkpoint holds them."""
    (kept / _SHA256).write_text(files.fingerprint(folder), "utf-8")


class Features(Frozen):
    """The last hidden states of a frozen encoder of text, computed where the cache lacks them."""

    def __init__(self, folder: pathlib.Path, config: Encoder):
        super().__init__(folder)
        self._encode = functools.cache(lambda: _encode(folder, config))

    def __call__(self, arrays: dict[str, np.ndarray]) -> np.ndarray:
        """{field: [N, L]} -> [N, L, D] float32, zeros on padding."""
        digest = hashlib.sha256(repr((self.sha256, _VERSION)).encode())
        fields = [arrays[name] for name in ("text_ids", "text_mask", "text_type")]
        for x in fields:
            digest.update(repr(x.shape).encode() + x.tobytes())
        return _kept(digest, lambda: {"text": self._encode()(fields)})["text"]


class WaveFeatures(Frozen):
    """Means of the last hidden states of a frozen encoder of waves over some frames each, computed where the cache lacks them.

    Args:
      folder: of the encoder.
      config: of the network.
      frames: how many of the encoder's frames, 50 a second, make a step.

    Attributes:
      config: as given.
    """

    def __init__(self, folder: pathlib.Path, config: Voice, frames: int):
        super().__init__(folder)
        self.config, self._frames = config, frames
        self._stride = math.prod(config.conv_stride)
        self._forward = functools.cache(lambda: _forward(folder, config, frames))

    @property
    def seconds(self) -> float:
        """From one step to the next."""
        return self._frames * self._stride / RATE

    def steps(self, samples: int) -> int:
        """Steps of a wave of so many samples; none where it is too short for a frame."""
        return math.ceil(max(0, self.config.frames(samples)) / self._frames)

    def samples(self, steps: int) -> int:
        """The most samples of a wave that has at most so many steps."""
        return self.config.field + self._frames * steps * self._stride - 1

    def load(self) -> None:
        """Loads the weights; without it the first wave does."""
        self._forward()

    def __call__(self, waves: Any, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Encodes waves.

        Args:
          waves: [N, T, 1] float32, 16 000 samples a second; also sequences of a store.
          mask: [N, T] bool, real samples, which padding follows.

        Returns:
          [N, S, D] float32, zeros on padding, and the mask of steps [N, S]; S is that of T
          samples, and at least 1.
        """
        lengths = np.sum(mask, axis=1)
        most = max(1, self.steps(waves.shape[1]))
        found = np.zeros((len(lengths), most, self.config.hidden_size), np.float32)
        for start in range(0, len(lengths), _WAVES):
            rows = slice(start, start + _WAVES)
            longest = lengths[rows].max()  # with other padding they are the same waves
            block = np.asarray(waves[rows])[:, :longest, 0]
            made = self._block(np.ascontiguousarray(block), lengths[rows])
            found[rows, : made.shape[1]] = made
        steps = np.array([self.steps(n) for n in lengths.tolist()], int)
        return found, np.arange(most) < steps[:, None]

    def alone(self, wave: np.ndarray) -> np.ndarray:
        """Features [S, D] of one wave [T, 1], which are not kept; silence has no steps, as in a file."""
        if not wave.any():
            return np.zeros((0, self.config.hidden_size), np.float32)
        return self._encode(wave[None, :, 0], np.array([len(wave)]))[0]

    def _block(self, waves: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Waves [N, T] of so many samples each -> [N, S, D]."""
        identity = self.sha256, _VERSION, self._frames, lengths.tolist()
        digest = hashlib.sha256(repr(identity).encode())
        digest.update(waves.tobytes())
        return _kept(digest, lambda: {"audio": self._encode(waves, lengths)})["audio"]

    def _encode(self, waves: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        shape = (len(waves), self.steps(waves.shape[1]), self.config.hidden_size)
        found = np.zeros(shape, np.float32)
        left = np.argsort(lengths, kind="stable")
        left = left[lengths[left] >= self.config.field]
        while len(left):
            # The longest ones first: memory that is not there is missed at once.
            size = _padded(int(lengths[left[-1]]))
            count = min(1 << (max(1, _SAMPLES // size).bit_length() - 1), len(left))
            left, rows = left[:-count], left[-count:]
            block = np.zeros((1 << (count - 1).bit_length(), size), np.float32)
            own = waves[rows, :size]
            block[:count, : own.shape[1]] = own
            mask = np.zeros(block.shape, bool)
            mask[:count] = np.arange(size) < lengths[rows, None]
            made = jax.device_get(self._forward()(block, mask))
            found[rows, : made.shape[1]] = made[:count, : shape[1]]
        return found


def _padded(samples: int) -> int:
    """Samples to which a wave is padded: few lengths, each compiled once; above half a second at most a quarter longer."""
    step = max(1 << (samples.bit_length() - 3), RATE // 8)
    return -(-samples // step) * step


def _kept(
    digest: Any, make: Callable[[], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    path = store.cache(None) / "features" / f"{digest.hexdigest()[:32]}.npz"
    return store.kept(path, make)


def _loaded(folder: pathlib.Path, encoder: Any, x: np.ndarray) -> Any:
    """The parameters of an encoder on the device; x [1, L] is an input."""
    run: Callable[..., Any] = functools.partial(encoder.init, train=False)
    made = jax.eval_shape(lambda key: run(key, x, mask=x == 0), jax.random.key(0))
    params, _ = load(folder, encoder, made["params"])
    return jax.device_put(params)


def _encode(
    folder: pathlib.Path, config: Encoder
) -> Callable[[list[np.ndarray]], np.ndarray]:
    """[ids, mask, segments], [N, L] each -> the encoder's last hidden state [N, L, D]."""
    encoder = config.encoder(pooler=False)
    params = _loaded(folder, encoder, np.zeros((1, 2), np.int32))

    @jax.jit
    def forward(params, ids, mask, segments):
        apply: Callable[..., Any] = encoder.apply
        options = dict(mask=mask, segments=segments, train=False)
        return apply({"params": params}, ids, **options).last * mask[..., None]

    def encode(fields: list[np.ndarray]) -> np.ndarray:
        made, total = [], len(fields[0])
        # Few shapes, which compile once each; a clip is one row and computes no others.
        size = min(_ROWS, 1 << (total - 1).bit_length())
        for start in range(0, total, size):
            rows = [x[start : start + size] for x in fields]
            filler = size - len(rows[0])
            rows = [np.pad(x, ((0, filler), (0, 0))) for x in rows]
            made.append(jax.device_get(forward(params, *rows))[: size - filler])
        return np.concatenate(made)

    return encode


def _forward(
    folder: pathlib.Path, config: Voice, frames: int
) -> Callable[[np.ndarray, np.ndarray], jax.Array]:
    """Waves [B, T] and their mask -> means over frames [B, S, D], zeros on padding."""
    encoder: Any = config.encoder()
    params = _loaded(folder, encoder, np.zeros((1, config.field), np.float32))

    @jax.jit
    def forward(params, waves, mask):
        encoded = encoder.apply({"params": params}, waves, mask=mask, train=False)
        real = encoded.mask[..., None]
        short = -real.shape[1] % frames
        states, real = (
            jnp.pad(x, ((0, 0), (0, short), (0, 0)))
            .reshape(len(x), -1, frames, x.shape[-1])
            .sum(axis=2)
            for x in (encoded.last * real, real.astype(jnp.float32))
        )
        return states / jnp.maximum(real, 1)

    return functools.partial(forward, params)
