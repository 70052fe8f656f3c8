"""State dicts of PyTorch models from files that run no code when they are read."""

import os
import pathlib
import zipfile
import zlib

import jax.numpy as jnp
import numpy as np
import safetensors

from msajax.data.errors import DataError, decoding
from msajax.data.formats import kinds
from msajax.weights import torch_file

_DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": jnp.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
    "U8": np.uint8,
    "BOOL": np.bool_,
}


def read(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Arrays by PyTorch name.

    Args:
      path: a file of torch.save (.pth, .pt, .bin) that holds a state dict, a
        .safetensors or an .npz file.

    Returns:
      Name to array; arrays may share memory or be read-only.

    Raises:
      ValueError: the file is missing, unreadable or of another format.
    """
    path = pathlib.Path(path)
    readers = {
        **dict.fromkeys((".pth", ".pt", ".bin"), torch_file.read),
        ".safetensors": _read_safetensors,
        ".npz": read_npz,
    }
    if path.suffix not in readers:
        raise ValueError(
            f"{path} is no file of weights by its name, which should end in "
            f"{', '.join(readers)}"
        )
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    if what := kinds.placeholder(path):
        raise ValueError(f"{path} {what}")
    try:
        return readers[path.suffix](path)
    except DataError as error:
        raise ValueError(f"{path} ({path.stat().st_size} bytes): {error}") from error


def read_npz(path: pathlib.Path) -> dict[str, np.ndarray]:
    """All arrays of a .npz file.

    Raises:
      ValueError: the file is damaged, or holds pickled objects.
    """
    try:
        with path.open("rb") as file:
            arrays = np.lib.npyio.NpzFile(file, allow_pickle=False)
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"{path} is no complete .npz file of plain arrays ({error})"
        ) from error


def _read_safetensors(path: pathlib.Path) -> dict[str, np.ndarray]:
    # The library's numpy reader does not know bfloat16.
    with decoding("safetensors file"):
        arrays = {}
        for name, tensor in safetensors.deserialize(path.read_bytes()):
            if tensor["dtype"] not in _DTYPES:
                raise DataError(
                    f"{ascii(name[:120])} has numbers of type {tensor['dtype']}; read are "
                    f"{', '.join(_DTYPES)}. Choose weights that are not quantised"
                )
            flat = np.frombuffer(tensor["data"], np.dtype(_DTYPES[tensor["dtype"]]))
            arrays[name] = flat.reshape(tensor["shape"])
        return arrays
