"""State dicts of PyTorch models from files that run no code when they are read."""

import os
import pathlib
import zipfile
import zlib

import numpy as np
import safetensors
import safetensors.numpy


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Arrays by PyTorch name.

    Args:
      path: a .npz or .safetensors file. PyTorch's own .pth runs code when it is
        loaded; convert it where PyTorch is:
        `safetensors.torch.save_file(torch.load(path), new_path)`.

    Returns:
      Name to array.

    Raises:
      ValueError: the file is missing, unreadable or of another format.
    """
    path = pathlib.Path(path)
    readers = {".npz": read_npz, ".safetensors": _read_safetensors}
    if path.suffix not in readers:
        raise ValueError(
            f"{path} is no .npz or .safetensors file; convert a PyTorch checkpoint "
            "with safetensors.torch.save_file(torch.load(path), new_path)"
        )
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    return readers[path.suffix](path)


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
    try:
        return safetensors.numpy.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise ValueError(
            f"{path} is no complete .safetensors file ({error})"
        ) from error
