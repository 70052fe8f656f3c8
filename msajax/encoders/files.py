"""The arrays of a checkpoint's folder, in whatever format they are kept; no code is run."""

import pathlib
from typing import NamedTuple

import flax.serialization
import numpy as np
from flax import traverse_util

from msajax.data import prepared
from msajax.data.errors import DataError, decoding
from msajax.data.formats import kinds
from msajax.encoders.locate import CONFIG, PREPROCESSOR, WEIGHTS, parts
from msajax.weights import files


class Weights(NamedTuple):
    """Arrays by name, and the file that they are from.

    Attributes:
      file: path.
      arrays: by names of PyTorch modules, or by paths in a tree of Flax.
      flax: whether they are paths, 'embeddings/LayerNorm/scale'.
    """

    file: pathlib.Path
    arrays: dict[str, np.ndarray]
    flax: bool


def read(folder: pathlib.Path) -> Weights:
    """Reads the weights of a folder.

    Raises:
      ValueError: there are none, or they are damaged or incomplete.
    """
    file, *shards = paths(folder)
    arrays: dict[str, np.ndarray] = {}
    for part in shards or [file]:
        arrays |= _read(part)
    return Weights(file, arrays, flax=file.suffix == ".msgpack")


def read_file(file: pathlib.Path) -> Weights:
    """Reads one file of weights.

    Raises:
      ValueError: it is missing, damaged, or of another format.
    """
    return Weights(file, _read(file), flax=file.suffix == ".msgpack")


def fingerprint(folder: pathlib.Path) -> str:
    """The sha256 of what a folder's network computes: its configs and its weights.

    Raises:
      ValueError: there are no weights, or not all.
    """
    prepares = [folder / PREPROCESSOR] if (folder / PREPROCESSOR).is_file() else []
    return prepared.fingerprint([folder / CONFIG, *prepares, *paths(folder)])


def size(folder: pathlib.Path) -> int:
    """Bytes of the weights in a folder; 0 where there are none, or not all of them whole."""
    try:
        return sum(path.stat().st_size for path in paths(folder))
    except ValueError:
        return 0


def paths(folder: pathlib.Path) -> list[pathlib.Path]:
    """The file with the weights, or the index and the files that it lists.

    Raises:
      ValueError: there are none, or not all.
    """
    for name in WEIGHTS:
        if (folder / name).is_file():
            break
    else:
        raise ValueError(
            f"{folder} has no weights; put one of these there: {', '.join(WEIGHTS)}"
        )
    file = folder / name
    shards = parts(file) if name.endswith(".index.json") else []
    for part in shards:
        if not (folder / part).is_file():
            raise ValueError(f"{file} lists {part}, which is not there; copy it too")
    files = [file, *(folder / part for part in shards)]
    for path in files:
        if what := kinds.placeholder(path):
            raise ValueError(f"{path} {what}")
    return files


def _read(file: pathlib.Path) -> dict[str, np.ndarray]:
    if file.suffix != ".msgpack":
        return files.read(file)
    if not file.is_file():
        raise ValueError(f"there is no file {file}")
    try:
        return _read_msgpack(file)
    except DataError as error:
        raise ValueError(f"{file} ({file.stat().st_size} bytes): {error}") from error


def _read_msgpack(file: pathlib.Path) -> dict[str, np.ndarray]:
    with decoding("Flax file"):
        tree = flax.serialization.msgpack_restore(file.read_bytes())
        leaves = traverse_util.flatten_dict(tree, sep="/")
        return {name: np.asarray(leaf) for name, leaf in leaves.items()}
