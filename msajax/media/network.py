"""Pooled features of pictures by ResNet-50, as CorMulT's: batches, computed while others are decoded."""

import os
import pathlib
from collections.abc import Iterable

import jax
import numpy as np

from msajax.data import prepared
from msajax.encoders import files, resnet
from msajax.media import video


class PictureNetwork:
    """A trained ResNet on pictures.

    Attributes:
      fingerprint: sha256 of its weights.
      width: of its features.
    """

    def __init__(self, path: str | os.PathLike[str], *, batch: int = 16):
        """Loads the weights.

        Args:
          path: file or folder of the weights (`encoders.resnet.load`).
          batch: pictures computed at once.

        Raises:
          ValueError: there are none, or they are of another network.
        """
        path = pathlib.Path(path)
        network, variables = resnet.load(path)
        parts = files.paths(path) if path.is_dir() else [path]
        self.fingerprint = prepared.fingerprint(parts)
        self.width = network.hidden_sizes[-1]
        self._batch = batch
        self._variables = jax.device_put(variables)

        @jax.jit
        def pooled(variables, pictures):
            values = resnet.normalize(pictures)
            seen = network.apply(variables, values, train=False)
            assert isinstance(seen, resnet.Seen)
            return seen.pooled

        self._pooled = pooled

    def __call__(self, pictures: Iterable[np.ndarray]) -> np.ndarray:
        """Features [N, width] float32 of pictures [S, S, 3] uint8, which are made meanwhile."""
        found = []
        batches = video.batches(pictures, size=self._batch)
        for stack in video.ahead(batches):
            missing = self._batch - len(stack)  # one shape, so one program
            full = np.pad(stack, ((0, missing), (0, 0), (0, 0), (0, 0)))
            # Dispatched without waiting for the one before.
            found.append(self._pooled(self._variables, full)[: len(stack)])
        arrays = [np.asarray(array) for array in found]
        return np.concatenate(arrays) if arrays else np.zeros((0, self.width), "f4")
