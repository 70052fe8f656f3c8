"""Features of a frozen encoder: computed once for each text, and kept on disk."""

import functools
import hashlib
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from msajax.data import store
from msajax.encoders import files
from msajax.encoders.kinds import Encoder
from msajax.encoders.load import load

# Rows that the encoder reads at once, at most.
_ROWS = 64
# Raise it when the encoders' results change: older entries of the cache are then left.
_VERSION = 1


class Features:
    """The last hidden states of a frozen encoder, computed where the cache lacks them.

    Attributes:
      folder: has the config and the weights.
      sha256: hash of both.
    """

    def __init__(self, folder: pathlib.Path, config: Encoder):
        self.folder, self.sha256 = folder, files.fingerprint(folder)
        self._encode = functools.cache(lambda: _encode(folder, config))

    def __call__(self, arrays: dict[str, np.ndarray]) -> np.ndarray:
        """{field: [N, L]} -> [N, L, D] float32, zeros on padding."""
        digest = hashlib.sha256(repr((self.sha256, _VERSION)).encode())
        fields = [arrays[name] for name in ("text_ids", "text_mask", "text_type")]
        for x in fields:
            digest.update(repr(x.shape).encode() + x.tobytes())
        path = store.cache(None) / "features" / f"{digest.hexdigest()[:32]}.npz"
        return store.kept(path, lambda: {"text": self._encode()(fields)})["text"]


def _encode(
    folder: pathlib.Path, config: Encoder
) -> Callable[[list[np.ndarray]], np.ndarray]:
    """[ids, mask, segments], [N, L] each -> the encoder's last hidden state [N, L, D]."""
    encoder = config.encoder(pooler=False)
    ids = np.zeros((1, 2), np.int32)
    run: Callable[..., Any] = functools.partial(encoder.init, train=False)
    made = jax.eval_shape(lambda key: run(key, ids, mask=ids == 0), jax.random.key(0))
    params, _ = load(folder, encoder, made["params"])
    params = jax.device_put(params)

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
